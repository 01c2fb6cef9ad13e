"""`python -m bench.quality.ceiling`: what the judges say of perfect pictures, the renderer's own, per split.

No method can be expected to score higher: where a perfect picture fails, the judge fails. The pictures pass through the
model's autoencoder, as generated ones do.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.quality import regions
from bench.quality.detection import judged
from bench.quality.extractors import Extractors
from bench.quality.eye_train import STYLE, picture, through_vae
from bench.quality.folder import tiny_world
from bench.quality.prompts import REPORTED, Prompt, read
from bench.quality.worker import find
from tiny_world.caption import PLACES
from tiny_world.judge import Judge
from tiny_world.scene import CLASSES, Scene, sample_scene

Rates = dict[str, dict[str, float]]


def scene_of(prompt: Prompt, rng: np.random.Generator) -> Scene:
    """What the prompt asks for, its things somewhere. Raises ``ValueError`` when it names no place."""
    names = list(prompt.subjects.values())
    count = len(names) + len(prompt.others)
    place = next((place for place, words in PLACES.items() if words in prompt.prompt), None)
    if place is None:
        msg = f"the prompt “{prompt.id}” names no place: it must say one of {', '.join(PLACES.values())}."
        raise ValueError(msg)
    style = STYLE if prompt.style is not None and prompt.style.on is None else None
    alone = [float(number == count) for number in range(1, 5)]
    return sample_scene(rng, alone, names, style=style, repeat=0.0, classes=prompt.others or CLASSES, background=place)


def perfect(prompt: Prompt, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 [128, 128, 3] of the prompt by the renderer, one subject in line art where it asks for that."""
    scene = scene_of(prompt, rng)
    if prompt.style is None or prompt.style.on is None:
        return picture(scene, None)[0]
    wanted = prompt.subjects[prompt.style.on]
    return picture(scene, next(i for i, thing in enumerate(scene.things) if thing.concept == wanted))[0]


def verdicts(judge: Judge, extractors: Extractors, prompts: Sequence[Prompt], pixels: np.ndarray) -> list[bool]:
    """Whether each of the pictures [n, h, w, 3] is right, as the table counts it."""
    found = find(judge, [Image.fromarray(one) for one in pixels])
    outlined = regions.silhouettes(extractors.eye, pixels, found)
    return [
        bool(judged(things, prompt, prompt.wanted, regions.style(prompt, shapes, things, prompt.wanted))["all"])
        for prompt, things, shapes in zip(prompts, found, outlined, strict=True)
    ]


def rates(prompts: Sequence[Prompt], right: Sequence[bool]) -> Rates:
    """Share of right pictures per split, and of a style on one subject per styled concept."""
    counted: Mapping[str, dict[str, list[bool]]] = {"splits": defaultdict(list), "styled": defaultdict(list)}
    for prompt, one in zip(prompts, right, strict=True):
        counted["splits"][prompt.split].append(one)
        if prompt.style is not None and prompt.style.on is not None:
            counted["styled"][prompt.subjects[prompt.style.on]].append(one)
    return {kind: {name: round(float(np.mean(ones)), 4) for name, ones in of.items()} for kind, of in counted.items()}


def measure(prompts: Sequence[Prompt], pictures: int, seed: int) -> dict[str, Any]:
    """The rates of ``pictures`` perfect pictures of every prompt."""
    judge, extractors = Judge.load(), Extractors.load(tiny_world(), "cpu")
    rng = np.random.default_rng([seed, 31])
    every = [prompt for prompt in prompts for _ in range(pictures)]
    pixels = through_vae(np.stack([perfect(prompt, rng) for prompt in every]), "cpu")
    return {"pictures": pictures, "seed": seed, **rates(every, verdicts(judge, extractors, every, pixels))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="What the judges say of the renderer's own pictures.")
    parser.add_argument("--prompts", type=Path, default=REPORTED)
    parser.add_argument("--pictures", type=int, default=8, help="of every prompt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/bench/ceiling.json"))
    options = parser.parse_args(arguments)
    made = measure(read(options.prompts).prompts, options.pictures, options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
