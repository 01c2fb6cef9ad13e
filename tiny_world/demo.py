"""`python -m tiny_world.demo`: a personal cat and dog in one picture, beside the plain merge."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from clora_ext.hosts.diffusers.checkpoint import Model, load
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, Result, generate
from clora_ext.settings.profiles import DEFAULT, build_settings

from .check import prompt
from .judge import Judge, verdict
from .model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS

PAIR = ("tuxcat", "browndog")
WEIGHT = 1.0
SEEDS = (1, 2, 3, 4)
COLOURS = ((230, 60, 60), (60, 110, 230))
ZOOM = 2


def draw(model: Model, library: Library, method: str) -> list[Result]:
    """One result per seed, with a progress bar."""
    made: list[Result] = []
    with tqdm(total=len(SEEDS), desc=method, unit="picture") as bar:
        for seed in SEEDS:
            picture = Picture(prompt(PAIR, WEIGHT), seeds=(seed,), steps=20, cfg_scale=4.0)
            made.append(generate(model, library, picture, build_settings(method=method)))
            bar.update()
    return made


def overlay(result: Result) -> Image.Image:
    """The picture, greyed, with each subject's mask in its colour."""
    image = result.images[0]
    grey = image.convert("L").convert("RGB")
    for weights, colour in zip(result.report.region_masks[0][1:], COLOURS, strict=True):
        mask = Image.fromarray((weights * 150).to(torch.uint8).numpy()).resize(image.size, Image.Resampling.NEAREST)
        grey.paste(Image.new("RGB", image.size, colour), mask=mask)
    return grey


def row(images: list[Image.Image]) -> Image.Image:
    """Pictures side by side, enlarged."""
    large = [image.resize((image.width * ZOOM, image.height * ZOOM), Image.Resampling.LANCZOS) for image in images]
    sheet = Image.new("RGB", (sum(i.width + 4 for i in large) - 4, large[0].height), "white")
    for index, image in enumerate(large):
        sheet.paste(image, (index * (image.width + 4), 0))
    return sheet


def compare(columns: dict[str, list[Image.Image]]) -> Image.Image:
    """One labelled column per kind of picture, one row per seed."""
    font = ImageFont.load_default(size=18)
    rows = [row(list(images)) for images in zip(*columns.values(), strict=True)]
    left, top = 80, 34
    sheet = Image.new("RGB", (left + rows[0].width, top + sum(r.height + 4 for r in rows)), "white")
    pen = ImageDraw.Draw(sheet)
    width = rows[0].width // len(columns)
    for index, title in enumerate(columns):
        pen.text((left + index * width + width // 2, top // 2), title, "black", font, anchor="mm")
    for index, (seed, image) in enumerate(zip(SEEDS, rows, strict=True)):
        y = top + index * (image.height + 4)
        sheet.paste(image, (left, y))
        pen.text((left // 2, y + image.height // 2), f"seed {seed}", "black", font, anchor="mm")
    return sheet


def main() -> int:
    """Writes the pictures and the report; gives 0 when the composition is right for at least three seeds."""
    began = time.perf_counter()
    out = Path("out/demo")
    out.mkdir(parents=True, exist_ok=True)
    model, library, judge = load(CHECKPOINT, CONFIG, TOKENIZER), Library(WEIGHTS / "lora"), Judge.load()
    merged, composed = draw(model, library, "merge"), draw(model, library, "clora")
    pictures = {
        "merge": [result.images[0] for result in merged],
        "composed": [result.images[0] for result in composed],
        "masks": [overlay(result) for result in composed],
    }
    for name, images in pictures.items():
        row(images).save(out / f"{name}.png")
    titles = ("plain merge", "CLoRA", "masks")
    compare(dict(zip(titles, pictures.values(), strict=True))).save(out / "compare.png")
    report = {
        "prompt": prompt(PAIR, WEIGHT),
        "method": "clora",
        "profile": DEFAULT,
        "loras": list(PAIR),
        "seeds": [
            {
                "seed": seed,
                "seconds": round(ours.seconds, 2),
                "plain_seconds": round(theirs.seconds, 2),
                "unet_rows": ours.report.rows,
                "plain_unet_rows": theirs.report.rows,
                "clora": asdict(verdict(judge.find(ours.images[0]), PAIR)),
                "merge": asdict(verdict(judge.find(theirs.images[0]), PAIR)),
            }
            for seed, ours, theirs in zip(SEEDS, composed, merged, strict=True)
        ],
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    right = [sum(seed[method]["right"] for seed in report["seeds"]) for method in ("merge", "clora")]
    took = time.perf_counter() - began
    print(f"both subjects right: plain merge {right[0]} of 4, CLoRA {right[1]} of 4; {took:.0f} s")
    print(f"look at {out / 'compare.png'}")
    return 0 if right[1] >= 3 else 1


if __name__ == "__main__":
    sys.exit(main())
