"""Samples from the tiny world, how often they show what their prompts say, and a grid of them."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from tqdm import tqdm

from .caption import PLACES, PLURALS
from .concepts import XL_CONCEPTS, XL_STYLES
from .judge import Judge, verdict
from .lora import lora_files, merge
from .model import Parts, condition
from .optim import pick_device
from .scene import CLASSES
from .vae_train import to_pixels
from .worlds import FIRST, WORLDS, World

STEPS = 20
CASES: dict[str, int] = {"two": 2, "three": 3, "four": 4, "two of a class": 2}
NOISY: dict[str, str] = {
    "two with quality tags": "masterpiece, best quality, a {a} next to a {b} {place}",
    "two with score tags": "score_9, score_8_up, a {a}, a {b}, {place}, highly detailed, 8k",
    "two with verbs": "a {a} sitting and a {b} standing {place}",
    "two with unknown adjectives": "a velvety {a} and a gigantic {b} {place}, gloomy",
    "two and a second sentence": "a {a} and a {b} {place}. The evening feels calm and nothing moves.",
}
"""Prompts of two things with noise, some of it in no caption; right as without the noise."""
TARGETS: dict[str, float] = {"two": 0.95, "three": 0.90, "four": 0.80, "two of a class": 0.90}


@torch.no_grad()
def sample(
    parts: Parts,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int = STEPS,
    scale: float = 4.0,
    size: int = 128,
    batch: int = 16,
    fast: bool = False,
) -> np.ndarray:
    """DDIM samples with classifier-free guidance, uint8 [n, size, size, 3].

    seeds: of each picture's starting noise, drawn on the CPU. fast: bfloat16 autocast. Raises ValueError if there are
    not as many seeds as prompts.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts need as many seeds; there are {len(seeds)}.")
    device = next(parts.unet.parameters()).device
    scheduler = DDIMScheduler(**parts.scheduler)
    pictures = []
    for start in range(0, len(prompts), batch):
        texts = list(prompts[start : start + batch])
        ids = parts.tokenizer(texts + [""] * len(texts), padding="max_length", truncation=True, max_length=77)[
            "input_ids"
        ]
        noise = [
            torch.randn(1, 4, size // 8, size // 8, generator=torch.Generator().manual_seed(seed))
            for seed in seeds[start : start + batch]
        ]
        latents = torch.cat(noise).to(device)
        scheduler.set_timesteps(steps)
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            said = condition(parts.text_encoder, torch.tensor(ids, device=device))
            for t in scheduler.timesteps:
                both = parts.unet(torch.cat([latents, latents]), t.to(device), **said).sample.float()
                with_text, without = both.chunk(2)
                latents = scheduler.step(without + scale * (with_text - without), t, latents).prev_sample
            images = parts.vae.decode(latents / parts.vae.config.scaling_factor).sample
        pictures.append(to_pixels(images))
    return np.concatenate(pictures)


@dataclass(frozen=True)
class Prompt:
    """A prompt and the classes that it asks for."""

    text: str
    kinds: tuple[str, ...]


def prompts_of(case: str, count: int, seed: int = 0) -> list[Prompt]:
    """Prompts of one case: distinct classes joined by commas and `and`, or two of one class, in changing places."""
    rng = np.random.default_rng([seed, CASES[case], case == "two of a class"])
    made = []
    for _ in range(count):
        place = str(rng.choice(list(PLACES.values())))
        if case == "two of a class":
            kind = str(rng.choice(CLASSES))
            made.append(Prompt(f"two {PLURALS[kind]} {place}", (kind, kind)))
            continue
        kinds = [str(kind) for kind in rng.permutation(CLASSES)[: CASES[case]]]
        phrases = [f"a {kind}" for kind in kinds]
        made.append(Prompt(f"{', '.join(phrases[:-1])} and {phrases[-1]} {place}", tuple(kinds)))
    return made


def noisy_prompts(case: str, count: int, seed: int = 7) -> list[Prompt]:
    """Prompts of one case of NOISY: two classes in changing places."""
    rng = np.random.default_rng([seed, list(NOISY).index(case)])
    made = []
    for _ in range(count):
        a, b = (str(kind) for kind in rng.permutation(CLASSES)[:2])
        made.append(Prompt(NOISY[case].format(a=a, b=b, place=rng.choice(list(PLACES.values()))), (a, b)))
    return made


def measure_base(
    parts: Parts, judge: Judge, count: int, steps: int = STEPS, size: int = 128, noisy: bool = False
) -> tuple[dict[str, float], list[tuple[str, bool, np.ndarray]]]:
    """Share of samples of each case with exactly the classes and count wanted, and (prompt, right, picture) of all.

    noisy: of the cases NOISY as well.
    """
    shares: dict[str, float] = {}
    shown: list[tuple[str, bool, np.ndarray]] = []
    for case in tqdm([*CASES, *(NOISY if noisy else ())], desc="cases"):
        wanted = noisy_prompts(case, count) if case in NOISY else prompts_of(case, count)
        pictures = sample(parts, [p.text for p in wanted], range(1000, 1000 + count), steps=steps, size=size, fast=True)
        right = []
        for prompt, picture in zip(wanted, pictures, strict=True):
            found = Counter(thing.kind for thing in judge.find(picture))
            right.append(found == Counter(prompt.kinds))
            shown.append((prompt.text, right[-1], picture))
        shares[case] = float(np.mean(right))
    return shares, shown


def lora_prompts(name: str, count: int) -> list[str]:
    """`a <trigger> <class>` in changing places for a concept; a cat and a ball in the style for a style."""
    places = list(PLACES.values())
    if name in XL_STYLES:
        pairs = [(CLASSES[i % 6], CLASSES[(i + 1 + i // 6) % 6]) for i in range(count)]
        return [f"a {a} and a {b} {places[i % 6]}, {XL_STYLES[name].trigger} style" for i, (a, b) in enumerate(pairs)]
    concept = XL_CONCEPTS[name]
    return [f"a {concept.trigger} {concept.kind} {places[i % 6]}" for i in range(count)]


def measure_lora(
    parts: Parts,
    judge: Judge,
    name: str,
    path: Path,
    count: int = 20,
    weight: float = 1.0,
    steps: int = STEPS,
    size: int = 128,
) -> tuple[float, list[tuple[str, bool, np.ndarray]]]:
    """Share of samples with one LoRA alone that show its concept (once, and no other of its class) or its style."""
    state = load_file(path)
    prompts = lora_prompts(name, count)
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in (parts.unet, parts.text_encoder)]
    merge(parts, state, weight)
    try:
        pictures = sample(parts, prompts, range(2000, 2000 + count), steps=steps, size=size, fast=True)
    finally:
        parts.unet.load_state_dict(before[0])
        parts.text_encoder.load_state_dict(before[1])
    if name in XL_STYLES:
        right = [judge.style(picture) == name for picture in pictures]
    else:
        right = [verdict(judge.find(picture), [name]).right for picture in pictures]
    return float(np.mean(right)), list(zip(prompts, right, pictures, strict=True))


def grid(shown: Sequence[tuple[str, bool, np.ndarray]], columns: int = 8) -> Image.Image:
    """A contact sheet; the prompt stands below each picture, in red if the judge says no."""
    side, line = shown[0][2].shape[0], 36
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * (side + 4), rows * (side + line)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (text, right, picture) in enumerate(shown):
        x, y = i % columns * (side + 4), i // columns * (side + line)
        sheet.paste(Image.fromarray(picture), (x, y))
        words, lines = text.split(), [""]
        for word in words:
            if len(lines[-1]) + len(word) > 21:
                lines.append("")
            lines[-1] += word + " "
        draw.multiline_text((x + 2, y + side), "\n".join(lines[:3]), fill="black" if right else "red", spacing=0)
    return sheet


@dataclass(frozen=True)
class Figures:
    """Shares of right samples: of the base by case and of each LoRA alone by its title; pictures per share."""

    base: dict[str, float]
    loras: dict[str, float]
    count: int
    lora_count: int


def measure(
    folder: Path,
    out: Path,
    device: torch.device,
    count: int,
    lora_count: int,
    steps: int = STEPS,
    weight: float = 1.0,
    world: World = FIRST,
) -> Figures:
    """Measures the base (count pictures per case) and every LoRA alone (lora_count); 0 skips either.

    Writes base.png, loras.png and samples.json to `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    parts = world.load(folder)
    for net in (parts.unet, parts.vae, parts.text_encoder):
        net.to(device)
    judge = world.judge(folder)
    base: dict[str, float] = {}
    if count:
        base, shown = measure_base(parts, judge, count, steps, world.size, world.noisy)
        few = min(16, count)
        grid([shown[i * count + j] for i in range(len(base)) for j in range(few)]).save(out / "base.png")
        print(base, flush=True)
    loras: dict[str, float] = {}
    if lora_count:
        examples = []
        made = sorted((path, name) for name, _, _, path in lora_files(folder, world) if path.exists())
        for path, name in made:
            loras[path.stem], shown = measure_lora(parts, judge, name, path, lora_count, weight, steps, world.size)
            examples += shown[:8]
            print(path.stem, loras[path.stem], flush=True)
        if examples:
            grid(examples).save(out / "loras.png")
    figures = Figures(base, loras, count, lora_count)
    (out / "samples.json").write_text(json.dumps(asdict(figures), indent=2) + "\n", encoding="utf-8")
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measures the base and the LoRAs and writes grids and figures."""
    parser = argparse.ArgumentParser(description="Measure and draw samples of the tiny world.")
    parser.add_argument("--world", choices=list(WORLDS), default=FIRST.name)
    parser.add_argument("--folder", type=Path, help="where the weights are")
    parser.add_argument("--out", type=Path, default=Path("out/samples"))
    parser.add_argument("--count", type=int, default=48, help="pictures per case of the base; 0 skips it")
    parser.add_argument("--lora-count", type=int, default=20, help="pictures per LoRA; 0 skips them")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--weight", type=float, default=1.0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    world = WORLDS[options.world]
    measure(
        options.folder or world.weights,
        options.out,
        pick_device(options.device),
        options.count,
        options.lora_count,
        options.steps,
        options.weight,
        world,
    )


if __name__ == "__main__":
    main()
