"""Draws scenes, with each thing's visible silhouette."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .backdrop import backdrop
from .scene import Scene
from .things import draw_thing


@dataclass(frozen=True)
class Rendering:
    """A picture.

    pixels: uint8 [size, size, 3]. silhouettes: bool [n, size, size], the visible pixels of each thing in the scene's
    order. boxes: int64 [n, 4], left, top, right, bottom (exclusive) of each silhouette in pixels. areas: int64 [n],
    pixels of each whole silhouette, what others cover included.
    """

    pixels: np.ndarray
    silhouettes: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray


def render(scene: Scene, size: int = 128) -> Rendering:
    """Draws the scene as a square picture of `size` pixels; the same scene always gives the same picture."""
    canvas = backdrop(scene, size).copy()
    count = len(scene.things)
    silhouettes = np.zeros((count, size, size), dtype=bool)
    areas = np.zeros(count, dtype=np.int64)
    for index, thing in enumerate(scene.things):
        sprite = draw_thing(thing, size, scene.style)
        n = sprite.shape[0]
        left, top = round(thing.x * size - n / 2), round(thing.y * size - n / 2)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + n, size), min(top + n, size)
        part = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
        alpha = part[..., 3:]
        canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * (1 - alpha) + part[..., :3]
        solid = alpha[..., 0] >= 0.5
        silhouettes[:index, y0:y1, x0:x1] &= ~solid
        silhouettes[index, y0:y1, x0:x1] = solid
        areas[index] = solid.sum()
    boxes = np.zeros((count, 4), dtype=np.int64)
    for index in range(count):
        ys, xs = np.nonzero(silhouettes[index])
        if len(xs):
            boxes[index] = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    pixels = np.clip(np.rint(canvas * 255.0), 0, 255).astype(np.uint8)
    return Rendering(pixels, silhouettes, boxes, areas)
