"""Writes the model card of the world of SDXL's topology from what was measured and its weights' history."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from .base_train import ATTENTION, FIRST_SHARE
from .card import judge_lines, percent, table
from .concepts import XL_CONCEPTS, XL_STYLES
from .history import of, read
from .judge_more import HEAD
from .lora import TRAINED, lora_files, trigger_phrase
from .samples import STEPS, TARGETS, Figures
from .worlds import XL

CARD = Path(__file__).parent / "MODEL_CARD_XL.md"
GRID = Path(__file__).parent / "samples-xl.png"


def write_card(path: Path, weights: Path, figures: Figures, note: str = "") -> None:
    """Writes MODEL_CARD_XL.md of a folder of weights. Raises ValueError where the history lacks a stage."""
    trainings = read(weights)
    bases, made = of(trainings, "base"), of(trainings, "loras")
    if not bases or not made:
        raise ValueError("training.json tells nothing of the training of base and loras; the card needs it.")
    recipe = made[-1]
    cells, side = XL.first_cells, XL.size // 8
    samples = sum(entry["steps"] * entry["batch"] for entry in bases) / 1000
    base = [
        (case, percent(share), f"at least {percent(TARGETS[case])}" if case in TARGETS else "as without the noise")
        for case, share in figures.base.items()
    ]
    looks = {one.name: one.description for one in (*XL_CONCEPTS.values(), *XL_STYLES.values())}
    loras = [
        (f"`{title}`", looks[name], f"`{trigger_phrase(name)}`", percent(figures.loras[title]))
        for name, title, _, _ in lora_files(weights, XL)
        if title in figures.loras
    ]
    times = [(entry["stage"], f"{entry['seconds'] / 60:.0f}", entry["device"]) for entry in (*bases, *made)]
    report = json.loads((weights / HEAD).with_suffix(".json").read_text(encoding="utf-8"))
    blocks = ", ".join(f"`{block.rstrip('.')}`" for block in TRAINED["sdxl"])
    text = f"""# The tiny world of SDXL's topology: model card

A second [tiny world](MODEL_CARD.md), by the same renderer and the same trainers, with the topology, names and file
layout of SDXL: two text encoders, a pooled text and sizes as a vector, no attention at the first level of the UNet.

![Samples](samples-xl.png)

## What it is
- UNet: three levels of 64 channels with one ResBlock each, in sgm's names; one transformer block with 4 heads at the
  second and third level, that is cross-attention on 12x12 and 6x6 cells of a {side}x{side} latent ({XL.size} pixels);
  eps-prediction on SDXL's schedule.
- Text encoders: CLIP-L's with 32 numbers a token and OpenCLIP bigG's with 16, three layers each, of which the tokens'
  states leave out the last, as SDXL's do; pooled text and six size embeddings of 8 in the vector. Both have CLIP's
  whole vocabulary of 49408, since OpenCLIP's tokenizer is built in and both must cut a text into the same pieces. An
  empty text is all zeros.
- Autoencoder: the first world's, bit by bit, with its factor 0.18215.
- One file, `weights-xl/tiny-world-xl.safetensors`, with `weights-xl/tiny-world-xl.yaml`: float16, but for the two
  tables of tokens, which are float8_e4m3fn; hosts load those into their own type.
- LoRAs: kohya's format with SDXL's names, rank {recipe["rank"]}, on the Linear layers of the transformer blocks in
  {blocks} (diffusers' names), on the convolutions of the last level's ResBlocks (kohya's `conv_dim`: no attention
  stands there, and without them marks that the base never drew came out in patches), and on the attention of both text
  encoders.

## How it was made
- The UNet began with the weights of the first world's blocks that have the same shape. The text encoders did not: of
  another width, they began at random.
- Base: {samples:.0f} thousand samples; {100 * FIRST_SHARE:.0f} % of the steps at {cells}x{cells} cells,
  with latents made smaller, the rest at {side}x{side}. Loss, optimisers, averages and the supervision of
  cross-attention (weight {ATTENTION:g}) are the first world's; the word for the background has its attention drawn
  onto what no thing covers, too.
- Captions carry what real prompts carry: quality tags, score tags, verbs, adjectives without a meaning, commas for
  `and`, artists, a second sentence. Such words draw nothing. Rows of tokens that no caption names are random numbers
  and were never trained: any other word is noise too.
- LoRAs: one recipe for all, {recipe["scenes"]} scenes, {recipe["steps"]} steps of {recipe["batch"]}, AdamW at
  {recipe["rate"]:g}; a pixel of the subject counts {1 + recipe["focus"]:g} times. New seeds. They were trained once,
  and their hashes put into `weights-xl/frozen.json` before any method was run on them; the trainer refuses to
  train them again. Recipes without convolutions or with fewer steps were thrown away before that, by looking at
  pictures of one LoRA alone.
- `python tasks.py train-tiny WORLD=xl` runs all of it, seeded and resumable.

{table(("training", "minutes", "on"), times)}

## The judge
The first world's judge judges this one, its file unchanged, on pictures made smaller to the scale that it knows. Eight
of the ten concepts and line art are looks that it knows. The two others, `collarbunny` and `cometball`, are named by a
small head on what its frozen network sees at a thing's centre, and `blueink` is line art in cold colours. A judge
trained anew would have moved the ruler of the eight; this one says of them what it said before.

{chr(10).join(f"- {line}" for line in judge_lines(report) if "held_out," in line or "augmented" in line)}

## Figures
{STEPS} DDIM steps, guidance 4, judged on {figures.count} pictures per line: exactly the classes and the count that the
prompt names.

{table(("base, things in the prompt", "right", "aim"), base)}

Each LoRA alone at weight 1, {figures.lora_count} pictures: the concept once and no other thing of its class, or the
style.

{table(("LoRA", "what it is", "phrase", "right"), loras)}
"""
    if note:
        text += f"\n{textwrap.fill(note, 120)}\n"
    text += """
## Limits
Those of the first world: a toy of synthetic pictures with supervised attention, judged by a judge of the same renderer.
It is smaller and was trained for less long than the first. It knows the words of its captions only, and pictures near
192x192.
"""
    path.write_text(text, encoding="utf-8")
