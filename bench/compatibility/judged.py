"""Two personal subjects by the tiny worlds in the real WebUI, judged: by every sampler and in every pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageDraw

from tests.webui.server import Result, WebUI
from tiny_world.judge import verdict
from tiny_world.worlds import FIRST, XL, World

CLASSES = ("cat", "dog")
PLAIN = "a cat and a dog in the grass"
"""The same scene without LoRAs: what the model itself makes of a pass."""
WANTED = ("tuxcat", "browndog")
JOB: Mapping[str, Any] = {"width": 128, "height": 128, "steps": 20, "cfg_scale": 4.0}
PROFILES = ("fast", "balanced")
PHRASES = ("a vako cat", "a pleko dog")
"""Of the subjects, each with its activation text."""
SEEDS = (1, 2, 3, 4)
HIRES = {"sampler_name": "DPM++ 2M", "enable_hr": True, "hr_scale": 1.5}
"""From 128 pixels to 192: the second world was trained at both sizes, the first at the smaller alone."""
FEWER_STEPS = {"LCM": {"steps": 8, "cfg_scale": 1.5}, "DPM adaptive": {"steps": 10}}
"""What is drawn otherwise where a sampler asks for it."""
FILLS = ("fill", "original", "latent noise", "latent nothing")


@dataclass(frozen=True)
class Case:
    """One way to draw, in a ``world``; ``from_image`` where the picture is made from one that was composed."""

    name: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    from_image: bool = False
    mask: Image.Image | None = None
    world: World = FIRST


def by_sampler(names: list[str]) -> Iterator[Case]:
    for name in names:
        yield Case(name, {"sampler_name": name, **FEWER_STEPS.get(name, {})})


def by_pass() -> Iterator[Case]:
    for upscaler in ("Latent", "Lanczos", "Nearest"):
        for strength in (0.3, 0.5, 0.7):
            pay = {**HIRES, "hr_upscaler": upscaler, "denoising_strength": strength}
            yield Case(f"hires. fix, {upscaler}, strength {strength}", pay)
            yield Case(f"hires. fix on the second world, {upscaler}, strength {strength}", pay, world=XL)
    for sampler in ("DPM++ 2M", "DDIM"):
        for strength in (0.3, 0.5, 0.75, 1.0):
            pay = {"sampler_name": sampler, "denoising_strength": strength}
            yield Case(f"img2img, {sampler}, strength {strength}", pay, from_image=True)
        yield from _inpainting(sampler)


def _inpainting(sampler: str) -> Iterator[Case]:
    """The left half, where the cat is, is drawn anew."""
    half = Image.new("L", (128, 128))
    ImageDraw.Draw(half).rectangle((0, 0, 63, 127), fill=255)
    for number, fill in enumerate(FILLS):
        for only in (False, True):
            pay = {"sampler_name": sampler, "denoising_strength": 0.85, "inpainting_fill": number}
            pay |= {"inpaint_full_res": only, "inpaint_full_res_padding": 16}
            area = "only masked" if only else "whole picture"
            yield Case(f"inpainting, {sampler}, {fill}, {area}", pay, from_image=True, mask=half)


def _composed(profile: str = PROFILES[0]) -> dict[str, Any]:
    return {"alwayson_scripts": {"CLoRA": {"args": [{"profile": profile}]}}}


class Judged:
    """Draws cases of one world and counts the pictures that have both subjects, each once, and no third thing of their
    classes.
    """

    def __init__(self, host: WebUI, world: World) -> None:
        self.host = host
        self.judge = world.judge(world.weights)
        self.size = world.size
        tags = (f"<lora:{name}{world.sets[0].ending}:1>" for name in WANTED)
        self.phrases = [f"{phrase} {tag}" for phrase, tag in zip(PHRASES, tags, strict=True)]
        self._starts: dict[int, Image.Image] = {}

    def right(self, case: Case, profile: str) -> tuple[int, list[Image.Image]]:
        """How many of the seeds by ``profile``, and the pictures."""
        pictures = [self._draw(case, seed, _composed(profile)).images[0] for seed in SEEDS]
        return sum(self._has(picture, WANTED) for picture in pictures), pictures

    def alone(self, case: Case) -> list[int]:
        """How many of the seeds WebUI draws right by itself with one LoRA and its subject, for each of the two."""
        drawn = [[self._draw(case, seed, {"prompt": f"{p} in the grass"}) for seed in SEEDS] for p in self.phrases]
        return [
            sum(self._has(result.images[0], [name]) for result in results)
            for name, results in zip(WANTED, drawn, strict=True)
        ]

    def _has(self, picture: Image.Image, names: Sequence[str]) -> bool:
        return verdict(self.judge.find(self._judged(picture)), list(names)).right

    def plain(self, case: Case) -> int:
        """How many of the seeds WebUI draws right by itself, without LoRAs: one thing of each class."""
        pictures = [self._draw(case, seed, {"prompt": PLAIN}).images[0] for seed in SEEDS]
        kinds = [sorted(f.kind for f in self.judge.find(self._judged(picture))) for picture in pictures]
        return sum([kind for kind in each if kind in CLASSES] == list(CLASSES) for each in kinds)

    def method(self) -> str:
        """With which the last job was composed."""
        told = self.host.get("/clora/v1/last").json()
        return str(told["batches"][0]["settings"]["method"])

    def _draw(self, case: Case, seed: int, more: Mapping[str, Any]) -> Result:
        job = {
            **JOB,
            "prompt": f"{' and '.join(self.phrases)} in the grass",
            "seed": seed,
            "scheduler": "Automatic",
            **case.payload,
            **more,
        }
        if not case.from_image:
            return self.host.txt2img(**job)
        return self.host.img2img(self._start(seed), case.mask, **job)

    def _start(self, seed: int) -> Image.Image:
        """A picture that has both subjects, composed; what is made from it is composed again."""
        if seed not in self._starts:
            self._starts[seed] = self._draw(Case("start", {"sampler_name": "DDIM"}), seed + 100, _composed()).images[0]
        return self._starts[seed]

    def _judged(self, picture: Image.Image) -> Image.Image:
        """The picture at the size that the judge knows."""
        size = (self.size, self.size)
        return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
