"""Draws one thing: a cat, dog, bunny, flower, ball or house, generic or a personal concept."""

from __future__ import annotations

import math

import numpy as np

from .concepts import Look, Rgb
from .pen import Pen, Point, luminance, mix, ring
from .scene import Thing

EYE: Rgb = (28, 26, 32)
WHITE: Rgb = (252, 252, 252)


def _varied(look: Look, rng: np.random.Generator) -> Look:
    """The look with its main colour a little lighter or darker."""
    shift = rng.integers(-7, 8, size=3)
    body = tuple(int(np.clip(c + d, 20, 255)) for c, d in zip(look.body, shift, strict=True))
    return Look(**{**look.__dict__, "body": body})


def _tail(kind: str, sway: float, colour: Rgb) -> tuple[list[Point], Rgb]:
    """The tail of an animal, at its right side."""
    if kind == "bunny":
        return ring(0.50, 0.66, 0.21, 0.21), colour
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


def _animal(pen: Pen, kind: str, look: Look, rng: np.random.Generator) -> None:
    """A sitting cat (pointed ears, long tail), dog (hanging ears, snout) or bunny (long upright ears, round tail)."""
    fur, accent = look.body, look.accent
    light, dark = mix(fur, (255, 255, 255), 0.35), mix(fur, (25, 15, 20), 0.32)
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
    body = ring(0.0, 0.55, body_w, 0.42)
    pen.shapes([(body, fur)])
    if accent is not None:
        pen.fill(ring(0.0, 0.60, body_w * 0.62, 0.34), accent)
    if look.stripes is not None:
        for side in (-1, 1):
            for y in (0.36, 0.66):
                w = body_w * math.sqrt(max(0.05, 1 - ((y - 0.55) / 0.42) ** 2))
                pen.fill([(side * w, y - 0.11), (side * w * 0.25, y + 0.02), (side * w, y + 0.12)], look.stripes)
        if kind == "cat":
            pen.fill([(0.64, 0.40), (0.90, 0.42), (0.91, 0.58), (0.64, 0.56)], look.stripes)
    if look.spots is not None:
        pen.fill(ring(0.20, 0.62, 0.18, 0.20), look.spots)
        pen.fill(ring(-0.24, 0.46, 0.13, 0.14), look.spots)
    pen.shapes([(ring(-0.20, 0.90, 0.17, 0.10), paws), (ring(0.20, 0.90, 0.17, 0.10), paws)])
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
            ears.append((ring(x, y, 0.135, 0.40, side * lean), ear_colour))
    pen.shapes([*ears, (ring(hx, hy, head_w, head_h), fur)])
    pen.fill(ring(hx, hy, head_w, head_h), fur)
    if kind == "cat":
        for side in (-1, 1):
            pen.fill([(side * 0.46, hy - 0.26), (side * 0.455, -0.72), (side * 0.22, hy - 0.34)], (248, 170, 170))
    elif kind == "bunny":
        for side in (-1, 1):
            x = side * (0.20 if look.hat is None else 0.42)
            y = -0.58 if look.hat is None else -0.48
            pen.fill(ring(x, y, 0.06, 0.26, side * (0.12 if look.hat is None else 0.52)), (248, 170, 170))
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
        pen.fill(ring(0.23, hy - 0.04, 0.22, 0.20), look.spots)
    eye_x = 0.24 if kind != "bunny" else 0.19
    muzzle_y = hy + (0.20 if kind != "bunny" else 0.16)
    if kind == "dog":
        pen.shapes([(ring(0.0, muzzle_y, 0.30, 0.22), pale)])
    elif accent is not None:
        pen.fill(ring(0.0, muzzle_y, 0.27, 0.19), accent)
    for side in (-1, 1):
        pen.dot(side * eye_x, hy - 0.05, 0.115, 0.125, WHITE)
        pen.dot(side * eye_x * 0.97, hy - 0.04, 0.075, 0.09, EYE)
    if kind == "dog":
        pen.dot(0.0, muzzle_y - 0.09, 0.15, 0.10, EYE)
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
                WHITE,
            )
    if look.hat is not None:
        top = hy - head_h
        crown = [(-0.26, top + 0.02), (-0.29, top - 0.52), (0.29, top - 0.52), (0.26, top + 0.02)]
        brim = [(-0.46, top + 0.02), (0.46, top + 0.02), (0.46, top + 0.16), (-0.46, top + 0.16)]
        pen.shapes([(crown, look.hat), (brim, look.hat)])


def _flower(pen: Pen, look: Look, rng: np.random.Generator) -> None:
    """A flower with stem, two leaves and six round petals; the accent colours the lower three."""
    green = (52, 140, 60)
    pen.shapes(
        [
            ([(-0.07, 0.10), (0.07, 0.10), (0.07, 0.98), (-0.07, 0.98)], green),
            (ring(-0.30, 0.72, 0.27, 0.12, 0.5), green),
            (ring(0.30, 0.66, 0.27, 0.12, -0.5), green),
        ]
    )
    turn = float(rng.uniform(-0.08, 0.08))
    lower = look.body if look.accent is None else look.accent
    petals: list[tuple[list[Point], Rgb]] = []
    for index in range(6):
        angle = math.pi / 6 + index * math.pi / 3 + turn
        colour = lower if index < 3 else look.body
        x, y = 0.40 * math.cos(angle), -0.32 + 0.40 * math.sin(angle)
        petals.append((ring(x, y, 0.28, 0.25, angle), colour))
    for petal in petals:
        pen.shapes([petal])
    middle = (255, 205, 40) if look.accent is None else (250, 250, 250)
    if look.accent is None and look.body[0] > 225 and look.body[1] > 195 and look.body[2] < 120:
        middle = (176, 98, 30)
    pen.shapes([(ring(0.0, -0.32, 0.23, 0.23), middle)])


def _ball(pen: Pen, look: Look, rng: np.random.Generator) -> None:
    """A ball with a bright spot and a curved seam, or with a big star."""
    radius = 0.80
    pen.shapes([(ring(0.0, 0.08, radius, radius, points=40), look.body)])
    if look.star is None:
        dark, light = mix(look.body, (25, 15, 30), 0.30), mix(look.body, (255, 255, 255), 0.75)
        tilt = float(rng.uniform(-0.25, 0.25))
        left = [(radius * math.cos(a), 0.08 + radius * math.sin(a)) for a in np.linspace(0.35 + tilt, 2.2 + tilt, 14)]
        inner = [(x * 0.66 - 0.10, (y - 0.08) * 0.66 - 0.02) for x, y in reversed(left)]
        pen.fill([*left, *inner], dark)
        pen.fill(ring(-0.30, -0.28, 0.24, 0.17, -0.7), light)
    else:
        tilt = float(rng.uniform(-0.2, 0.2)) - math.pi / 2
        points = []
        for index in range(10):
            angle, r = tilt + index * math.pi / 5, 0.74 if index % 2 == 0 else 0.34
            points.append((r * math.cos(angle), 0.08 + r * math.sin(angle)))
        pen.fill(points, look.star)


def _house(pen: Pen, look: Look, rng: np.random.Generator) -> None:
    """A house with a pitched roof, a door and a window; with a tower on demand."""
    roof = (150, 62, 48) if look.accent is None else look.accent
    if look.accent is None and look.body[0] > 100 and look.body[1] < 110 and look.body[2] < 80:
        roof = (92, 84, 92)
    door = (108, 66, 40) if look.door is None else look.door
    if look.door is None and luminance(look.body) < 110:
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
    pen = Pen(round(thing.size * size), style, 1.16 if thing.kind in ("bunny", "flower") else 1.0)
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
