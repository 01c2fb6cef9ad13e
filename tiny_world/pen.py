"""Flat shapes with outlines, supersampled, in colours or in the tones of the line-art style."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .concepts import Rgb

PAPER: Rgb = (250, 244, 226)
SHADE: Rgb = (205, 186, 152)
INK: Rgb = (52, 40, 62)
TONES: dict[str | None, tuple[Rgb, Rgb, Rgb]] = {
    "lineart": (PAPER, SHADE, INK),
    "blueink": ((238, 244, 252), (140, 176, 224), (22, 44, 112)),
}
"""Paper, shade and ink of the styles that draw with them."""
_SUPER = 3
_MARGIN = 1.16
Point = tuple[float, float]


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """Colour between a (share 0) and b (share 1)."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def luminance(colour: Rgb) -> float:
    """Luminance in 0..255 (Rec. 601 weights)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def ink_tone(colour: Rgb, style: str | None = "lineart") -> Rgb:
    """The tone of a drawn style that stands for a colour: ink, shade or paper."""
    paper, shade, ink = TONES[style]
    light = luminance(colour)
    return ink if light < 75 else shade if light < 165 else paper


def ring(x: float, y: float, rx: float, ry: float, tilt: float = 0.0, points: int = 20) -> list[Point]:
    """Outline of an ellipse, tilted clockwise by `tilt` radians."""
    c, s = math.cos(tilt), math.sin(tilt)
    angles = [2 * math.pi * i / points for i in range(points)]
    return [
        (x + rx * math.cos(a) * c - ry * math.sin(a) * s, y + rx * math.cos(a) * s + ry * math.sin(a) * c)
        for a in angles
    ]


class Pen:
    """Draws shapes in a thing's own units (x to the right and y down, -1 to 1) on a transparent supersampled square."""

    def __init__(self, pixels: int, style: str | None, stretch: float = 1.0) -> None:
        self.side = max(8, math.ceil(pixels * _MARGIN)) * _SUPER
        self.unit = pixels * _SUPER / 2
        self.stretch = stretch
        self.style = style
        self.lineart = style in TONES
        self.width = (0.085 if self.lineart else 0.055) * self.unit
        self.image = Image.new("RGBA", (self.side, self.side), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def _place(self, points: Sequence[Point]) -> list[Point]:
        middle = self.side / 2
        return [(middle + x * self.unit * self.stretch, middle + y * self.unit) for x, y in points]

    def tone(self, colour: Rgb) -> Rgb:
        """The colour as this picture's style shows it."""
        return ink_tone(colour, self.style) if self.lineart else colour

    def edge(self, colour: Rgb) -> Rgb:
        """Outline colour of a shape of this colour."""
        return TONES[self.style][2] if self.lineart else mix(colour, (30, 22, 34), 0.68)

    def fill(self, points: Sequence[Point], colour: Rgb) -> None:
        """Fills a polygon without an outline."""
        self.draw.polygon(self._place(points), fill=self.tone(colour))

    def dot(self, x: float, y: float, rx: float, ry: float, colour: Rgb) -> None:
        """Fills an upright ellipse without an outline."""
        (left, top), (right, bottom) = self._place([(x - rx, y - ry), (x + rx, y + ry)])
        self.draw.ellipse((left, top, right, bottom), fill=self.tone(colour))

    def shapes(self, shapes: Sequence[tuple[Sequence[Point], Rgb]]) -> None:
        """Fills several polygons as one figure with a common outline."""
        for points, colour in shapes:
            placed = self._place(points)
            self.draw.polygon(placed, fill=self.edge(colour))
            self.draw.line([*placed, placed[0]], fill=self.edge(colour), width=round(2 * self.width))
            if self.lineart or len(placed) < 12:
                for x, y in placed:
                    self.draw.ellipse(
                        (x - self.width, y - self.width, x + self.width, y + self.width), fill=self.edge(colour)
                    )
        for points, colour in shapes:
            self.fill(points, colour)

    def finish(self, flip: bool) -> np.ndarray:
        """The square at picture scale: float32 [side, side, 4] in 0..1, colours premultiplied by alpha."""
        small = self.image.convert("RGBa").reduce(_SUPER)
        if flip:
            small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(small, dtype=np.float32) / 255.0
