"""Draws a scene's background: sky or wall, ground and what stands there."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .concepts import Rgb
from .pen import TONES, luminance
from .scene import Scene


def backdrop(scene: Scene, size: int) -> np.ndarray:
    """The background alone: float32 [size, size, 3] in 0..1."""
    rng = np.random.default_rng(scene.seed)
    n = size * 2
    horizon = float(rng.uniform(0.24, 0.36)) * n
    image = Image.new("RGB", (n, n))
    draw = ImageDraw.Draw(image)
    lineart = scene.style in TONES
    paper, shade, ink = TONES[scene.style if lineart else "lineart"]

    def tone(colour: Rgb) -> Rgb:
        return paper if lineart and luminance(colour) >= 60 else shade if lineart else colour

    line: dict[str, object] = {"outline": ink, "width": max(2, n // 85)} if lineart else {}
    shift = rng.integers(-6, 7, size=3)

    def near(colour: Rgb) -> Rgb:
        return tone(tuple(int(np.clip(c + d, 0, 255)) for c, d in zip(colour, shift, strict=True)))  # type: ignore[arg-type]

    def sky(colour: Rgb) -> None:
        draw.rectangle((0, 0, n, n), fill=near(colour))

    def ground(colour: Rgb, top: float = horizon, bend: float = 0.0) -> None:
        xs = np.linspace(0, n, 13)
        phase = float(rng.uniform(0, 2 * math.pi))
        curve = [(float(x), top + bend * n * math.sin(phase + 5.0 * x / n)) for x in xs]
        draw.polygon([*curve, (n, n), (0, n)], fill=near(colour))
        if lineart:
            draw.line(curve, fill=ink, width=max(2, n // 85))

    def disc(x: float, y: float, r: float, colour: Rgb) -> None:
        draw.ellipse(((x - r) * n, (y - r) * n, (x + r) * n, (y + r) * n), fill=tone(colour), **line)

    across = float(rng.uniform(0.1, 0.9))
    if scene.background == "grass":
        sky((140, 205, 250))
        disc(across, 0.10, 0.065, (255, 225, 70))
        ground((112, 190, 84), bend=0.012)
    elif scene.background == "beach":
        sky((165, 220, 250))
        disc(across, 0.09, 0.06, (255, 225, 70))
        draw.rectangle((0, horizon - 0.05 * n, n, n), fill=near((40, 130, 200)), **line)
        ground((246, 222, 156), top=horizon + 0.07 * n, bend=0.012)
    elif scene.background == "snow":
        sky((186, 204, 222))
        for x in (across, (across + 0.35) % 1.0):
            tree = [
                ((x - 0.09) * n, horizon + 0.02 * n),
                (x * n, horizon - 0.20 * n),
                ((x + 0.09) * n, horizon + 0.02 * n),
            ]
            draw.polygon(tree, fill=tone((84, 128, 118)), **line)
        ground((240, 245, 250), bend=0.012)
    elif scene.background == "night":
        sky((62, 72, 138))
        disc(across, 0.11, 0.07, (250, 244, 200))
        for _ in range(6):
            disc(float(rng.uniform(0.03, 0.97)), float(rng.uniform(0.03, 0.2)), 0.014, (250, 244, 200))
        ground((84, 112, 140), bend=0.012)
    elif scene.background == "desert":
        sky((252, 208, 150))
        disc(across, 0.10, 0.075, (250, 120, 60))
        x = (across + 0.4) % 0.8 + 0.1
        for box in ((x - 0.03, -0.17, x + 0.03, 0.04), (x - 0.10, -0.11, x - 0.06, -0.02), (x - 0.10, -0.05, x, -0.01)):
            corners = (box[0] * n, horizon + box[1] * n, box[2] * n, horizon + box[3] * n)
            draw.rectangle(corners, fill=tone((70, 140, 80)), **line)
        ground((226, 160, 92), bend=0.02)
    elif scene.background == "room":
        sky((222, 196, 204))
        x = 0.15 + 0.7 * across
        draw.rectangle(((x - 0.11) * n, 0.03 * n, (x + 0.11) * n, 0.19 * n), fill=tone((250, 250, 250)), **line)
        draw.rectangle(((x - 0.09) * n, 0.05 * n, (x + 0.09) * n, 0.17 * n), fill=tone((150, 205, 240)), **line)
        ground((176, 124, 84))
        draw.rectangle((0, horizon - 0.012 * n, n, horizon + 0.012 * n), fill=tone((250, 240, 235)), **line)
    else:
        raise ValueError(f"there is no background {scene.background!r}: choose one of scene.BACKGROUNDS")
    return np.asarray(image.reduce(2), dtype=np.float32) / 255.0
