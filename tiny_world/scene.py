"""What a picture of the tiny world shows: a background and one to four things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .concepts import CONCEPTS, XL_CONCEPTS, XL_STYLES, Concept, Look, Rgb

CLASSES: tuple[str, ...] = ("cat", "dog", "bunny", "flower", "ball", "house")
BACKGROUNDS: tuple[str, ...] = ("grass", "beach", "snow", "night", "desert", "room")
COLOURS: dict[str, Rgb] = {
    "white": (250, 250, 250),
    "black": (46, 44, 52),
    "grey": (150, 150, 156),
    "brown": (136, 84, 46),
    "orange": (250, 145, 35),
    "yellow": (250, 220, 60),
    "red": (225, 45, 45),
    "pink": (252, 150, 190),
    "purple": (150, 80, 200),
    "blue": (60, 110, 230),
    "green": (60, 165, 75),
}


@dataclass(frozen=True)
class Thing:
    """One thing: centre (x, y) and size (side of its square) as fractions of the picture's side, y downwards.

    concept names a personal concept; colour a generic thing's colour (None with a concept). look overrides both, for
    pictures of things that are neither. seed varies its proportions and shade.
    """

    kind: str
    concept: str | None
    colour: str | None
    x: float
    y: float
    size: float
    flip: bool
    seed: int
    look: Look | None = None

    def appearance(self) -> Look:
        """Colours and marks to draw it with."""
        if self.look is not None:
            return self.look
        if self.concept is not None:
            return XL_CONCEPTS[self.concept].look
        if self.colour is None:
            raise ValueError(f"the {self.kind} has neither a concept nor a colour: give it one of them")
        return Look(body=COLOURS[self.colour])


@dataclass(frozen=True)
class Scene:
    """A background and its things, drawn in order (a later one covers an earlier one); style None is the plain one."""

    background: str
    things: tuple[Thing, ...]
    style: str | None
    seed: int


_ROWS: dict[int, tuple[tuple[tuple[float, float], ...], ...]] = {
    1: (((0.5, 0.62),),),
    2: (((0.27, 0.64), (0.73, 0.64)), ((0.28, 0.48), (0.72, 0.74)), ((0.28, 0.74), (0.72, 0.48))),
    3: (
        ((0.175, 0.66), (0.5, 0.66), (0.825, 0.66)),
        ((0.26, 0.44), (0.74, 0.44), (0.5, 0.79)),
        ((0.5, 0.42), (0.25, 0.77), (0.75, 0.77)),
        ((0.19, 0.5), (0.5, 0.74), (0.81, 0.5)),
    ),
    4: (
        ((0.27, 0.40), (0.73, 0.40), (0.27, 0.79), (0.73, 0.79)),
        ((0.22, 0.42), (0.66, 0.42), (0.36, 0.79), (0.80, 0.79)),
        ((0.135, 0.55), (0.38, 0.74), (0.62, 0.55), (0.865, 0.74)),
    ),
}
_SHARES: dict[int, tuple[float, ...]] = {1: (1.0,), 2: (0.7, 0.15, 0.15), 3: (0.4, 0.2, 0.2, 0.2), 4: (0.5, 0.3, 0.2)}
_SIZES: dict[int, tuple[float, float]] = {1: (0.42, 0.54), 2: (0.39, 0.46), 3: (0.325, 0.37), 4: (0.295, 0.335)}
_JITTER: dict[int, tuple[float, float]] = {1: (0.22, 0.10), 2: (0.045, 0.07), 3: (0.015, 0.035), 4: (0.02, 0.025)}


def _kinds(rng: np.random.Generator, wanted: list[str], count: int, repeat: float, classes: Sequence[str]) -> list[str]:
    """Classes of `count` things, `wanted` first; with probability `repeat` two (rarely three) are of one class."""
    kinds = list(wanted)
    free = [kind for kind in classes if kind not in kinds]
    free = [free[i] for i in rng.permutation(len(free))]
    while len(kinds) < count:
        kinds.append(free.pop() if free else str(rng.choice(list(classes))))
    room = count - len(wanted)
    if count >= 2 and room >= 1 and rng.random() < repeat:
        copies = 2 if count >= 4 and room >= 3 and rng.random() < 0.25 else 1
        copies = 2 if count == 3 and room >= 2 and rng.random() < 0.25 else copies
        source = kinds[0] if kinds[0] in classes else kinds[-1]
        for place in range(count - copies, count):
            kinds[place] = source
    return kinds


def sample_scene(
    rng: np.random.Generator,
    counts: Sequence[float] = (0.15, 0.5, 0.22, 0.13),
    personal: float | Sequence[str] = 0.0,
    *,
    style: str | None = None,
    repeat: float = 0.3,
    classes: Sequence[str] = CLASSES,
    background: str | None = None,
    known: Mapping[str, Concept] = CONCEPTS,
) -> Scene:
    """Draws a scene of one to four things that overlap only a little.

    counts: probabilities of 1, 2, ... things. personal: a number makes each thing one of the `known` concepts of its
    class with that probability; names of concepts put each of these in the scene once (the others stay generic).
    repeat: probability that two (at three and more things sometimes three) are of one class. classes: those of generic
    things.

    Raises ValueError for an unknown concept, style, class or background, or more than four things.
    """
    names = [] if isinstance(personal, (int, float)) else list(personal)
    for name in names:
        if name not in XL_CONCEPTS:
            raise ValueError(f"there is no concept {name!r}: choose among {', '.join(XL_CONCEPTS)}")
    if style is not None and style not in XL_STYLES:
        raise ValueError(f"there is no style {style!r}: choose among {', '.join(XL_STYLES)}")
    if background is not None and background not in BACKGROUNDS:
        raise ValueError(f"there is no background {background!r}: choose among {', '.join(BACKGROUNDS)}")
    if not classes or any(kind not in CLASSES for kind in classes):
        raise ValueError(f"the classes must be among {', '.join(CLASSES)}")
    if len(counts) > 4 or len(names) > 4:
        raise ValueError("a scene holds at most four things: give at most four counts and four concepts")
    shares = np.asarray(counts, dtype=np.float64)
    count = max(int(rng.choice(len(shares), p=shares / shares.sum())) + 1, len(names), 1)

    kinds = _kinds(rng, [XL_CONCEPTS[name].kind for name in names], count, repeat, classes)
    concepts: list[str | None] = [*names, *([None] * (count - len(names)))]
    if isinstance(personal, (int, float)):
        for place, kind in enumerate(kinds):
            choices = [concept.name for concept in known.values() if concept.kind == kind]
            if rng.random() < personal:
                concepts[place] = str(rng.choice(choices))

    slots = _ROWS[count][int(rng.choice(len(_ROWS[count]), p=_SHARES[count]))]
    order = rng.permutation(count)
    mirrored = bool(rng.random() < 0.5)
    scale = rng.uniform(*_SIZES[count])
    dx, dy = _JITTER[count]
    last_colour: dict[str, str] = {}
    things: list[Thing] = []
    for place, slot in enumerate(order):
        x, y = slots[slot]
        x = 1.0 - x if mirrored else x
        size = float(np.clip(scale * rng.uniform(0.94, 1.06), 0.28, 0.56))
        x = float(np.clip(x + rng.uniform(-dx, dx), size / 2 + 0.01, 1 - size / 2 - 0.01))
        y = float(np.clip(y + rng.uniform(-dy, dy), size / 2 + 0.01, 1 - size / 2 - 0.01))
        kind = kinds[place]
        colour = None
        if concepts[place] is None:
            options = [name for name in COLOURS if name != last_colour.get(kind) or rng.random() < 0.15]
            colour = str(rng.choice(options))
            last_colour[kind] = colour
        flip = bool(rng.random() < 0.5)
        things.append(Thing(kind, concepts[place], colour, x, y, size, flip, int(rng.integers(2**31))))
    things.sort(key=lambda thing: thing.y)
    backdrop = str(rng.choice(BACKGROUNDS)) if background is None else background
    return Scene(backdrop, tuple(things), style, int(rng.integers(2**31)))
