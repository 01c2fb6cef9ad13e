"""`python -m bench.merging.sheet`: the first picture of every concept by every row, which nobody has picked."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from bench.merging.__main__ import DTYPE, ENDING, MERGED, OUT
from bench.merging.cases import ROWS, SETS, Case, Counts
from bench.quality import folder
from bench.quality.encoding import unpack_image
from bench.quality.jobs import World
from bench.quality.store import Store
from bench.quality.worker import Setup

SIDE = 96
_LEFT, _TOP, _GAP = 92, 16, 2
_COLOURS = 160


def firsts(case: Case, lines: Mapping[str, Mapping[str, Any]], world: World) -> dict[str, Image.Image]:
    """By concept, the picture of the first text and seed, as far as it is there."""
    jobs = case.jobs(Counts(1, 0, 0))
    found = {job.prompt.wanted[0]: lines.get(job.key(job.seeds[0], world)) for job in jobs}
    return {concept: unpack_image(line["webp"][0]) for concept, line in found.items() if line is not None}


def sheet(rows: Mapping[str, Mapping[str, Image.Image]], concepts: Sequence[str]) -> Image.Image:
    """Rows of pictures with their names beside, concepts above."""
    step = SIDE + _GAP
    page = Image.new("RGB", (_LEFT + step * len(concepts), _TOP + step * len(rows)), "white")
    pen = ImageDraw.Draw(page)
    for column, concept in enumerate(concepts):
        pen.text((_LEFT + column * step, 2), concept, "black")
    for place, (name, pictures) in enumerate(rows.items()):
        top = _TOP + place * step
        pen.text((2, top + SIDE // 2), name, "black")
        for column, concept in enumerate(concepts):
            if concept in pictures:
                small = pictures[concept].resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                page.paste(small, (_LEFT + column * step, top))
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.merging.sheet", description=__doc__)
    parser.add_argument("--concepts", type=int, default=8, choices=SETS)
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=ROWS)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    subject = folder.tiny_world()
    lines = Store(options.out / "pictures.jsonl").lines
    world = Setup(replace(subject, loras=(*subject.loras, options.out / MERGED)), dtype=DTYPE).world
    found = {row: firsts(Case(row, SETS[options.concepts], ENDING), lines, world) for row in options.rows}
    page = sheet({row: pictures for row, pictures in found.items() if pictures}, SETS[options.concepts])
    page.quantize(_COLOURS).save(options.out / "sheet.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
