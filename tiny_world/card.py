"""The model card, written from measured figures."""

from __future__ import annotations

import json
import platform
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from .base_train import ATTENTION
from .caption import known_words
from .concepts import CONCEPTS, STYLES
from .history import FILE, of, read
from .lora import SHAPED, TRAINED, lora_files, trigger_phrase
from .machine import cores
from .samples import CASES, STEPS, TARGETS, Figures

CARD = Path(__file__).parent / "MODEL_CARD.md"
GRID = Path(__file__).parent / "samples.png"


def device_name(kind: str, workers: int = 0) -> str:
    """The processor in words, without the machine's name; workers: how many of its cores are used, 0 for all."""
    if kind == "cuda":
        import torch

        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    count = workers or cores()
    return f"{count} core{'s' if count > 1 else ''} of {model}"


def percent(share: float) -> str:
    """A share as whole per cent."""
    return f"{100 * share:.0f} %"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def judge_lines(report: Mapping[str, Any]) -> list[str]:
    """The numbers of the judge's report, one line each, nested ones with their path."""
    lines: list[str] = []
    for key, value in report.items():
        if isinstance(value, Mapping):
            lines += [f"{key}, {line}" for line in judge_lines(value)]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            lines.append(f"{key}: {value:g}")
    return lines


def write_card(path: Path, weights: Path, figures: Figures, note: str = "") -> None:
    """Writes MODEL_CARD.md of a folder of weights: its history, its LoRA files, its judge.json if that is there.

    The base may have been trained several times, each going on from the last, and some LoRAs again; of the autoencoder
    and the judge the latest training counts. Raises ValueError where the history lacks a stage.
    """
    trainings = read(weights)
    judge_report = weights / "judge.json"
    missing = [stage for stage in ("vae", "base", "loras") if not of(trainings, stage)]
    if missing:
        raise ValueError(f"{FILE} tells nothing of the training of {', '.join(missing)}; the card needs it.")
    vae, bases, loras_made = of(trainings, "vae")[-1], of(trainings, "base"), of(trainings, "loras")
    latest, earlier = loras_made[-1], ""
    if loras_made[0]["scenes"] != latest["scenes"]:
        earlier = f"""  Those of {loras_made[0]["scenes"]} scenes (below) are of an earlier recipe: every other scene
  from afar, all pixels alike.
"""
    base = [
        (case, percent(figures.base[case]), f"at least {percent(TARGETS[case])}")
        for case in CASES
        if case in figures.base
    ]
    names = [*CONCEPTS, *STYLES]
    looks = {name: c.description for name, c in CONCEPTS.items()} | {name: s.description for name, s in STYLES.items()}
    loras = [
        (
            f"`{name}`",
            looks[name],
            f"`{trigger_phrase(name)}`",
            percent(figures.loras[name]) if name in figures.loras else "-",
            percent(figures.loras[f"{name}-b"]) if f"{name}-b" in figures.loras else "-",
        )
        for name in names
    ]
    times = [
        (entry["stage"], f"{entry['seconds'] / 60:.0f}", entry["device"])
        for entry in (vae, *bases, *loras_made, *of(trainings, "judge")[-1:])
    ]
    judge = json.loads(judge_report.read_text(encoding="utf-8")) if judge_report.exists() else {}
    levels = ", ".join(f"`{level.rstrip('.')}`" for level in TRAINED["sd1"])
    shaped = ", ".join(f"`{name}`" for name in sorted(SHAPED))
    recipes = table(("LoRAs", "scenes", "steps", "rank", "text encoder"), _recipes(weights))
    thousands = sum(entry["steps"] * entry["batch"] for entry in bases) / 1000
    sizes = ", then ".join(f"{entry['steps']} steps of {entry['batch']}" for entry in bases)
    text = f"""# The tiny world: model card

A text-to-image latent diffusion model with the topology and file layout of Stable Diffusion 1, trained from scratch on
synthetic cartoon scenes, with LoRAs of {len(CONCEPTS)} concepts and {len(STYLES)} style (two trainings of each) and a
judge that names what a picture shows. It is small enough to ship and exists to show and test how LoRAs are composed.

![Samples]({GRID.name})

## What it is
- UNet: SD1's levels, blocks and names at 64, 128, 64 and 64 channels, 4 heads, cross-attention on 16x16, 8x8 and 4x4
  cells of a 16x16 latent; eps-prediction on SD1's scaled-linear schedule.
- Autoencoder: f=8, four latents, 64 channels at the first level; its latents are normalised so that SD1's factor
  0.18215 holds.
- Text encoder: CLIP's, 2 layers of 128, 77 positions, with byte-pair merges learned on the captions' words
  ({len(known_words())} words with a meaning; every other text encodes, and means nothing).
- One file in SD1's layout, `weights/tiny-world.safetensors` (float16), with `weights/tiny-world.yaml`.
- LoRAs: kohya's format, on the Linear layers of the transformer blocks in
  {levels}, of all levels in {shaped};
  some train the text encoder as well (below).

## How it was made
- Data: the renderer of this package, nothing else: scenes of one to four things of six classes, six backgrounds, eleven
  colours, and plain English captions with random nonsense words before some nouns. Personal concepts and the style
  never occur in the base's data; the autoencoder sees them.
- Autoencoder: {vae["steps"]} steps of {vae["batch"]} crops of 64 pixels; held-out PSNR {vae["psnr"]:.1f} dB.
- Base: {sizes} ({thousands:.0f} thousand samples in all), UNet and text encoder
  jointly; Muon and AdamW, min-SNR-5 weights, caption dropout 0.1, averaged weights.
- **The cross-attention was supervised**: a loss of weight {ATTENTION:g} on every cross-attention layer with 4x4 cells
  or more drew each noun's attention (and that of a nonsense word right before it) onto its own things, whose
  silhouettes the renderer knows. Stable Diffusion's attention got there by scale; this one by help.
- LoRAs: one of four scenes shows the concept alone from near, two from afar, one among other classes; batches of
  {latest["batch"]}, AdamW at {latest["rate"]:g}; a pixel of the subject counts {1 + latest["focus"]:g} times; attention
  not supervised. The second set (`lora-b`) has other seeds, and no setting of the extension was chosen by it.
{earlier}- `python tasks.py train-tiny` runs all of it, seeded and resumable; `--again` goes on from finished weights.

{table(("training", "minutes", "on"), times)}

{recipes}

## Figures
{STEPS} DDIM steps, guidance 4, judged by the judge on {figures.count} pictures per line: exactly the classes and the
count that the prompt names.

{table(("base, things in the prompt", "right", "aim"), base)}

Each LoRA alone at weight 1, {figures.lora_count} pictures: the concept once and no other thing of its class, or the
style.

{table(("LoRA", "what it is", "phrase", "right", "second training"), loras)}
"""
    if note:
        text = text.replace("\n## Figures", f"\n{textwrap.fill(note, 120)}\n\n## Figures")
    if judge:
        text += "\nThe judge, on held-out pictures of the renderer:\n\n"
        told = [line for line in judge_lines(judge) if "found_with_right_name" in line or "style" in line]
        text += "\n".join(f"- {line}" for line in told) + "\n"
    text += """
## Limits
It is a toy: synthetic pictures, supervised attention, a judge trained on the same renderer. It shows that an algorithm
works on a real latent diffusion model with real LoRAs, and says nothing about the beauty of Stable Diffusion's
pictures. It knows the words of its captions only, and pictures near 128x128.
"""
    path.write_text(text, encoding="utf-8")


def _recipes(weights: Path) -> list[tuple[str, ...]]:
    """The LoRA files by how they were trained, as their own metadata tell."""
    found: dict[tuple[str, ...], list[str]] = {}
    for _, title, _, path in lora_files(weights):
        with safe_open(path, "pt") as file:
            told, keys = file.metadata(), file.keys()
            text = "yes" if any(key.startswith("lora_te_") for key in keys) else "-"
        recipe = told["ss_num_train_images"], told["ss_max_train_steps"], told["ss_network_dim"], text
        found.setdefault(recipe, []).append(f"`{title}`")
    return [(", ".join(titles), *recipe) for recipe, titles in found.items()]
