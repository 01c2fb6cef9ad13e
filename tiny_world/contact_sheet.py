"""Writes a grid of scenes with their captions' pictures, to look at: `python -m tiny_world.contact_sheet`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from .concepts import CONCEPTS
from .render import render
from .scene import BACKGROUNDS, CLASSES, COLOURS, Scene, Thing, sample_scene


def _alone(kind: str, concept: str | None, colour: str | None, background: str, style: str | None, seed: int) -> Scene:
    """A scene of one thing in the middle."""
    return Scene(background, (Thing(kind, concept, colour, 0.5, 0.6, 0.42, bool(seed % 2), seed),), style, seed)


def sheet(rows: int, seed: int) -> np.ndarray:
    """uint8 [height, width, 3]: personal concepts, generic classes in every colour, the style, then random scenes."""
    grid: list[list[np.ndarray]] = []
    names = list(CONCEPTS)
    width = len(COLOURS) + 1
    rng = np.random.default_rng(seed)
    for style in (None, "lineart"):
        row = [_alone(CONCEPTS[name].kind, name, None, BACKGROUNDS[i % 6], style, i) for i, name in enumerate(names)]
        row += [sample_scene(rng, style=style) for _ in range(width - len(row))]
        grid.append([render(scene).pixels for scene in row])
    for number, kind in enumerate(CLASSES):
        colours = [*COLOURS, "white"]
        row = [_alone(kind, None, c, BACKGROUNDS[(i + number) % 6], None, i) for i, c in enumerate(colours)]
        grid.append([render(scene).pixels for scene in row])
    for _ in range(rows):
        grid.append([render(sample_scene(rng, (0.05, 0.3, 0.3, 0.35))).pixels for _ in range(width)])
    return np.concatenate([np.concatenate(row, axis=1) for row in grid], axis=0)


def main() -> None:
    """Writes the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/contact-sheet.png"))
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet(arguments.rows, arguments.seed)).save(arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    main()
