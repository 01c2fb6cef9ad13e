"""Draws scenes: supersampled flat shapes with outlines, and each thing's visible silhouette."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .concepts import Look, Rgb
from .scene import Scene, Thing

_SUPER = 3
_MARGIN = 1.16
_PAPER: Rgb = (250, 244, 226)
_SHADE: Rgb = (205, 186, 152)
_INK: Rgb = (52, 40, 62)
_EYE: Rgb = (28, 26, 32)
_WHITE: Rgb = (252, 252, 252)
Point = tuple[float, float]


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


def _mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """Colour between a (share 0) and b (share 1)."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def _luminance(colour: Rgb) -> float:
    """Luminance in 0..255 (Rec. 601 weights)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _ink_tone(colour: Rgb) -> Rgb:
    """The tone of the line-art style that stands for a colour: ink, shade or paper."""
    light = _luminance(colour)
    return _INK if light < 75 else _SHADE if light < 165 else _PAPER


def _ring(x: float, y: float, rx: float, ry: float, tilt: float = 0.0, points: int = 20) -> list[Point]:
    """Outline of an ellipse, tilted clockwise by `tilt` radians."""
    c, s = math.cos(tilt), math.sin(tilt)
    angles = [2 * math.pi * i / points for i in range(points)]
    return [
        (x + rx * math.cos(a) * c - ry * math.sin(a) * s, y + rx * math.cos(a) * s + ry * math.sin(a) * c)
        for a in angles
    ]


class _Pen:
    """Draws shapes in a thing's own units (x to the right and y down, -1 to 1) on a transparent supersampled square."""

    def __init__(self, pixels: int, style: str | None, stretch: float = 1.0) -> None:
        self.side = max(8, math.ceil(pixels * _MARGIN)) * _SUPER
        self.unit = pixels * _SUPER / 2
        self.stretch = stretch
        self.lineart = style == "lineart"
        self.width = (0.085 if self.lineart else 0.055) * self.unit
        self.image = Image.new("RGBA", (self.side, self.side), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def _place(self, points: Sequence[Point]) -> list[Point]:
        middle = self.side / 2
        return [(middle + x * self.unit * self.stretch, middle + y * self.unit) for x, y in points]

    def tone(self, colour: Rgb) -> Rgb:
        """The colour as this picture's style shows it."""
        return _ink_tone(colour) if self.lineart else colour

    def edge(self, colour: Rgb) -> Rgb:
        """Outline colour of a shape of this colour."""
        return _INK if self.lineart else _mix(colour, (30, 22, 34), 0.68)

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


def _varied(look: Look, rng: np.random.Generator) -> Look:
    """The look with its main colour a little lighter or darker."""
    shift = rng.integers(-7, 8, size=3)
    body = tuple(int(np.clip(c + d, 20, 255)) for c, d in zip(look.body, shift, strict=True))
    return Look(**{**look.__dict__, "body": body})


def _tail(kind: str, sway: float, colour: Rgb) -> tuple[list[Point], Rgb]:
    """The tail of an animal, at its right side."""
    if kind == "bunny":
        return _ring(0.50, 0.66, 0.21, 0.21), colour
    if kind == "dog":
        return [
            (0.30, 0.80),
            (0.62, 0.44 + sway),
            (0.84, 0.22 + sway),
            (0.94, 0.34 + sway),
            (0.78, 0.62 + sway),
            (0.50, 0.92),
        ], colour
    return [
        (0.25, 0.92),
        (0.52, 0.86),
        (0.66, 0.62),
        (0.64, 0.34),
        (0.72 + sway, 0.12),
        (0.90 + sway, 0.08),
        (0.97 + sway, 0.20),
        (0.86, 0.32),
        (0.90, 0.62),
        (0.78, 0.92),
        (0.45, 0.99),
    ], colour


def _animal(pen: _Pen, kind: str, look: Look, rng: np.random.Generator) -> None:
    """A sitting cat (pointed ears, long tail), dog (hanging ears, snout) or bunny (long upright ears, round tail)."""
    fur, accent = look.body, look.accent
    light, dark = _mix(fur, (255, 255, 255), 0.35), _mix(fur, (25, 15, 20), 0.32)
    pale = accent if accent is not None else light
    sway = float(rng.uniform(-0.05, 0.05))
    hy = -0.20 if kind != "bunny" else -0.02
    hx, head_w, head_h = 0.0, 0.56 + float(rng.uniform(-0.02, 0.02)), 0.42
    if kind == "bunny":
        head_w, head_h = 0.44 + float(rng.uniform(-0.02, 0.02)), 0.36
    body_w, body_top = 0.43 + float(rng.uniform(-0.02, 0.03)), 0.16
    paws = accent if accent is not None else fur
    tail_colour = light if kind == "bunny" else fur
    pen.shapes([_tail(kind, sway, tail_colour)])
    body = _ring(0.0, 0.55, body_w, 0.42)
    pen.shapes([(body, fur)])
    if accent is not None:
        pen.fill(_ring(0.0, 0.60, body_w * 0.62, 0.34), accent)
    if look.stripes is not None:
        for side in (-1, 1):
            for y in (0.36, 0.66):
                w = body_w * math.sqrt(max(0.05, 1 - ((y - 0.55) / 0.42) ** 2))
                pen.fill([(side * w, y - 0.11), (side * w * 0.25, y + 0.02), (side * w, y + 0.12)], look.stripes)
        if kind == "cat":
            pen.fill([(0.64, 0.40), (0.90, 0.42), (0.91, 0.58), (0.64, 0.56)], look.stripes)
    if look.spots is not None:
        pen.fill(_ring(0.20, 0.62, 0.18, 0.20), look.spots)
        pen.fill(_ring(-0.24, 0.46, 0.13, 0.14), look.spots)
    pen.shapes([(_ring(-0.20, 0.90, 0.17, 0.10), paws), (_ring(0.20, 0.90, 0.17, 0.10), paws)])
    if look.collar is not None:
        pen.fill([(-0.42, body_top), (0.42, body_top), (0.40, body_top + 0.33), (-0.40, body_top + 0.33)], look.collar)
        pen.dot(0.0, body_top + 0.31, 0.11, 0.11, (255, 215, 60))

    ears: list[tuple[list[Point], Rgb]] = []
    ear_colour = look.spots if look.spots is not None else fur
    if kind == "cat":
        for side in (-1, 1):
            ears.append(([(side * 0.55, hy - 0.10), (side * 0.50, -0.92), (side * 0.10, hy - 0.36)], ear_colour))
    elif kind == "bunny":
        lean = 0.12 if look.hat is None else 0.52
        for side in (-1, 1):
            x = side * (0.20 if look.hat is None else 0.40)
            y = -0.56 if look.hat is None else -0.44
            ears.append((_ring(x, y, 0.135, 0.40, side * lean), ear_colour))
    pen.shapes([*ears, (_ring(hx, hy, head_w, head_h), fur)])
    pen.fill(_ring(hx, hy, head_w, head_h), fur)
    if kind == "cat":
        for side in (-1, 1):
            pen.fill([(side * 0.46, hy - 0.26), (side * 0.455, -0.72), (side * 0.22, hy - 0.34)], (248, 170, 170))
    elif kind == "bunny":
        for side in (-1, 1):
            x = side * (0.20 if look.hat is None else 0.42)
            y = -0.58 if look.hat is None else -0.48
            pen.fill(_ring(x, y, 0.06, 0.26, side * (0.12 if look.hat is None else 0.52)), (248, 170, 170))
    if look.stripes is not None:
        top = hy - head_h
        for x, w in ((0.0, 0.10), (-0.25, 0.09), (0.25, 0.09)):
            pen.fill(
                [(x - w, top + 0.02 + abs(x) * 0.3), (x + w, top + 0.02 + abs(x) * 0.3), (x * 0.9, top + 0.27)],
                look.stripes,
            )
        for side in (-1, 1):
            pen.fill(
                [(side * head_w, hy + 0.0), (side * head_w * 0.62, hy + 0.08), (side * head_w * 0.95, hy + 0.18)],
                look.stripes,
            )
    if look.spots is not None:
        pen.fill(_ring(0.23, hy - 0.04, 0.22, 0.20), look.spots)
    eye_x = 0.24 if kind != "bunny" else 0.19
    muzzle_y = hy + (0.20 if kind != "bunny" else 0.16)
    if kind == "dog":
        pen.shapes([(_ring(0.0, muzzle_y, 0.30, 0.22), pale)])
    elif accent is not None:
        pen.fill(_ring(0.0, muzzle_y, 0.27, 0.19), accent)
    for side in (-1, 1):
        pen.dot(side * eye_x, hy - 0.05, 0.115, 0.125, _WHITE)
        pen.dot(side * eye_x * 0.97, hy - 0.04, 0.075, 0.09, _EYE)
    if kind == "dog":
        pen.dot(0.0, muzzle_y - 0.09, 0.15, 0.10, _EYE)
        pen.dot(0.0, muzzle_y + 0.10, 0.08, 0.05, (235, 90, 110))
        drop = float(rng.uniform(-0.03, 0.03))
        ear = dark if look.spots is None else look.spots
        for side in (-1, 1):
            points = [
                (side * 0.30, hy - 0.40),
                (side * 0.52, hy - 0.40),
                (side * 0.78, hy - 0.10),
                (side * 0.84, hy + 0.28 + drop),
                (side * 0.70, hy + 0.42 + drop),
                (side * 0.54, hy + 0.30 + drop),
                (side * 0.46, hy - 0.06),
            ]
            pen.shapes([(points, ear)])
    else:
        pen.dot(0.0, muzzle_y - 0.04, 0.075, 0.055, (240, 110, 130))
        if kind == "bunny":
            pen.fill(
                [(-0.07, muzzle_y + 0.06), (0.07, muzzle_y + 0.06), (0.07, muzzle_y + 0.18), (-0.07, muzzle_y + 0.18)],
                _WHITE,
            )
    if look.hat is not None:
        top = hy - head_h
        crown = [(-0.26, top + 0.02), (-0.29, top - 0.52), (0.29, top - 0.52), (0.26, top + 0.02)]
        brim = [(-0.46, top + 0.02), (0.46, top + 0.02), (0.46, top + 0.16), (-0.46, top + 0.16)]
        pen.shapes([(crown, look.hat), (brim, look.hat)])


def _flower(pen: _Pen, look: Look, rng: np.random.Generator) -> None:
    """A flower with stem, two leaves and six round petals; the accent colours the lower three."""
    green = (52, 140, 60)
    pen.shapes(
        [
            ([(-0.07, 0.10), (0.07, 0.10), (0.07, 0.98), (-0.07, 0.98)], green),
            (_ring(-0.30, 0.72, 0.27, 0.12, 0.5), green),
            (_ring(0.30, 0.66, 0.27, 0.12, -0.5), green),
        ]
    )
    turn = float(rng.uniform(-0.08, 0.08))
    lower = look.body if look.accent is None else look.accent
    petals: list[tuple[list[Point], Rgb]] = []
    for index in range(6):
        angle = math.pi / 6 + index * math.pi / 3 + turn
        colour = lower if index < 3 else look.body
        x, y = 0.40 * math.cos(angle), -0.32 + 0.40 * math.sin(angle)
        petals.append((_ring(x, y, 0.28, 0.25, angle), colour))
    for petal in petals:
        pen.shapes([petal])
    middle = (255, 205, 40) if look.accent is None else (250, 250, 250)
    if look.accent is None and look.body[0] > 225 and look.body[1] > 195 and look.body[2] < 120:
        middle = (176, 98, 30)
    pen.shapes([(_ring(0.0, -0.32, 0.23, 0.23), middle)])


def _ball(pen: _Pen, look: Look, rng: np.random.Generator) -> None:
    """A ball with a bright spot and a curved seam, or with a big star."""
    radius = 0.80
    pen.shapes([(_ring(0.0, 0.08, radius, radius, points=40), look.body)])
    if look.star is None:
        dark, light = _mix(look.body, (25, 15, 30), 0.30), _mix(look.body, (255, 255, 255), 0.75)
        tilt = float(rng.uniform(-0.25, 0.25))
        left = [(radius * math.cos(a), 0.08 + radius * math.sin(a)) for a in np.linspace(0.35 + tilt, 2.2 + tilt, 14)]
        inner = [(x * 0.66 - 0.10, (y - 0.08) * 0.66 - 0.02) for x, y in reversed(left)]
        pen.fill([*left, *inner], dark)
        pen.fill(_ring(-0.30, -0.28, 0.24, 0.17, -0.7), light)
    else:
        tilt = float(rng.uniform(-0.2, 0.2)) - math.pi / 2
        points = []
        for index in range(10):
            angle, r = tilt + index * math.pi / 5, 0.74 if index % 2 == 0 else 0.34
            points.append((r * math.cos(angle), 0.08 + r * math.sin(angle)))
        pen.fill(points, look.star)


def _house(pen: _Pen, look: Look, rng: np.random.Generator) -> None:
    """A house with a pitched roof, a door and a window; with a tower on demand."""
    roof = (150, 62, 48) if look.accent is None else look.accent
    if look.accent is None and look.body[0] > 100 and look.body[1] < 110 and look.body[2] < 80:
        roof = (92, 84, 92)
    door = (108, 66, 40) if look.door is None else look.door
    if look.door is None and _luminance(look.body) < 110:
        door = (222, 196, 150)
    window = (190, 228, 250)
    left, right = (-0.74, 0.74) if not look.tower else (-0.86, 0.42)
    peak = -0.84 + float(rng.uniform(-0.04, 0.04)) if not look.tower else -0.52
    eaves = -0.14 if not look.tower else 0.02
    middle = (left + right) / 2
    walls = [(left, eaves), (right, eaves), (right, 0.96), (left, 0.96)]
    pen.shapes([(walls, look.body)])
    pen.shapes(
        [
            (
                [
                    (left - 0.16 if not look.tower else left - 0.08, eaves + 0.06),
                    (middle, peak),
                    (right + 0.16, eaves + 0.06),
                ],
                roof,
            )
        ]
    )
    if look.tower:
        pen.shapes([([(0.30, -0.36), (0.86, -0.36), (0.86, 0.96), (0.30, 0.96)], look.body)])
        pen.shapes([([(0.20, -0.30), (0.58, -0.97), (0.96, -0.30)], roof)])
        pen.dot(0.58, 0.02, 0.14, 0.16, roof)
        door_x = middle - 0.06
        pen.shapes(
            [([(door_x - 0.22, 0.34), (door_x + 0.22, 0.34), (door_x + 0.22, 0.96), (door_x - 0.22, 0.96)], door)]
        )
        return
    pen.shapes([([(-0.52, 0.32), (-0.10, 0.32), (-0.10, 0.96), (-0.52, 0.96)], door)])
    pen.shapes([([(0.14, 0.14), (0.54, 0.14), (0.54, 0.52), (0.14, 0.52)], window)])


def draw_thing(thing: Thing, size: int, style: str | None) -> np.ndarray:
    """The thing alone on a transparent square of about 1.16 times its size in a picture of `size` pixels.

    Returns float32 [h, h, 4] in 0..1 with premultiplied colours. Raises ValueError for a class that has no drawing.
    """
    rng = np.random.default_rng(thing.seed)
    look = _varied(thing.appearance(), rng)
    pen = _Pen(round(thing.size * size), style, 1.16 if thing.kind in ("bunny", "flower") else 1.0)
    if thing.kind in ("cat", "dog", "bunny"):
        _animal(pen, thing.kind, look, rng)
    elif thing.kind == "flower":
        _flower(pen, look, rng)
    elif thing.kind == "ball":
        _ball(pen, look, rng)
    elif thing.kind == "house":
        _house(pen, look, rng)
    else:
        raise ValueError(f"there is no way to draw a {thing.kind!r}: choose a class of scene.CLASSES")
    return pen.finish(thing.flip)


def _backdrop(scene: Scene, size: int) -> np.ndarray:
    """The background alone: float32 [size, size, 3] in 0..1."""
    rng = np.random.default_rng(scene.seed)
    n = size * 2
    horizon = float(rng.uniform(0.24, 0.36)) * n
    image = Image.new("RGB", (n, n))
    draw = ImageDraw.Draw(image)
    lineart = scene.style == "lineart"

    def tone(colour: Rgb) -> Rgb:
        return _PAPER if lineart and _luminance(colour) >= 60 else _SHADE if lineart else colour

    line: dict[str, object] = {"outline": _INK, "width": max(2, n // 85)} if lineart else {}
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
            draw.line(curve, fill=_INK, width=max(2, n // 85))

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


def render(scene: Scene, size: int = 128) -> Rendering:
    """Draws the scene as a square picture of `size` pixels; the same scene always gives the same picture."""
    canvas = _backdrop(scene, size).copy()
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
