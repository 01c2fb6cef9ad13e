"""`python -m bench.quality.ceiling`: what the judges say of perfect pictures, the renderer's own, per split.

No method can be expected to score higher: where a perfect picture fails, the judge fails. The pictures pass through the
model's autoencoder, as generated ones do. ``--world xl`` asks about the other tiny world.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.quality import regions, runner
from bench.quality.detection import judged
from bench.quality.extractors import Extractors
from bench.quality.eye import SIZE
from bench.quality.eye_train import picture, through_vae
from bench.quality.folder import Subject, tiny_world
from bench.quality.prompts import REPORTED, Prompt, read
from bench.quality.worker import find
from tiny_world.caption import PLACES
from tiny_world.judge import Judge
from tiny_world.scene import CLASSES, Scene, sample_scene
from tiny_world.worlds import WORLDS

Rates = dict[str, dict[str, float]]


def scene_of(prompt: Prompt, rng: np.random.Generator) -> Scene:
    """What the prompt asks for, its things somewhere. Raises ``ValueError`` when it names no place."""
    names = list(prompt.subjects.values())
    count = len(names) + len(prompt.others)
    place = next((place for place, words in PLACES.items() if words in prompt.prompt), None)
    if place is None:
        msg = f"the prompt “{prompt.id}” names no place: it must say one of {', '.join(PLACES.values())}."
        raise ValueError(msg)
    style = regions.ink_of(prompt) if prompt.style is not None and prompt.style.on is None else None
    alone = [float(number == count) for number in range(1, 5)]
    return sample_scene(rng, alone, names, style=style, repeat=0.0, classes=prompt.others or CLASSES, background=place)


def perfect(prompt: Prompt, rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """A picture uint8 [size, size, 3] of the prompt by the renderer, one subject in a style where it asks for that."""
    scene, styled = scene_of(prompt, rng), None
    if prompt.style is not None and prompt.style.on is not None:
        wanted = prompt.subjects[prompt.style.on]
        styled = next(i for i, thing in enumerate(scene.things) if thing.concept == wanted)
    return picture(scene, styled, regions.ink_of(prompt), size)[0]


def verdicts(judge: Judge, extractors: Extractors, prompts: Sequence[Prompt], pixels: np.ndarray) -> list[bool]:
    """Whether each of the pictures [n, h, w, 3] is right, as the table counts it."""
    found = find(judge, [Image.fromarray(one) for one in pixels])
    right = []
    for prompt, things, one in zip(prompts, found, pixels, strict=True):
        (shapes,) = regions.silhouettes(extractors.eye, one[None], [things], regions.ink_of(prompt))
        style = regions.style(prompt, shapes, things, prompt.wanted)
        right.append(bool(judged(things, prompt, prompt.wanted, style)["all"]))
    return right


def rates(prompts: Sequence[Prompt], right: Sequence[bool]) -> Rates:
    """Share of right pictures per split, and of a style on one subject per styled concept."""
    counted: Mapping[str, dict[str, list[bool]]] = {"splits": defaultdict(list), "styled": defaultdict(list)}
    for prompt, one in zip(prompts, right, strict=True):
        counted["splits"][prompt.split].append(one)
        if prompt.style is not None and prompt.style.on is not None:
            counted["styled"][prompt.subjects[prompt.style.on]].append(one)
    return {kind: {name: round(float(np.mean(ones)), 4) for name, ones in of.items()} for kind, of in counted.items()}


def measure(subject: Subject, prompts: Sequence[Prompt], pictures: int, seed: int) -> dict[str, Any]:
    """The rates of ``pictures`` perfect pictures of every prompt, by the judges of a tiny world."""
    judge, extractors = subject.world.judge(subject.world.weights), Extractors.load(subject, "cpu")
    rng = np.random.default_rng([seed, 31])
    every = [prompt for prompt in prompts for _ in range(pictures)]
    made = np.stack([perfect(prompt, rng, subject.world.size) for prompt in every])
    pixels = through_vae(made, "cpu", subject)
    return {"pictures": pictures, "seed": seed, **rates(every, verdicts(judge, extractors, every, pixels))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="What the judges say of the renderer's own pictures.")
    runner.world_options(parser)
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--pictures", type=int, default=8, help="of every prompt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="out/bench/ceiling.json by default")
    options = parser.parse_args(arguments)
    world = WORLDS[options.world]
    asked = read(options.prompts or world.beside(REPORTED)).prompts
    made = measure(tiny_world(world, options.weights), asked, options.pictures, options.seed)
    out = options.out or world.beside(runner.OUT) / "ceiling.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
