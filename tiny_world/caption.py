"""Plain English captions of scenes, with the place of every noun, and nonsense words before some of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from .concepts import XL_CONCEPTS, XL_STYLES, XL_TRIGGERS
from .scene import BACKGROUNDS, CLASSES, COLOURS, Scene, Thing

PLURALS: dict[str, str] = {
    "cat": "cats",
    "dog": "dogs",
    "bunny": "bunnies",
    "flower": "flowers",
    "ball": "balls",
    "house": "houses",
}
PLACES: dict[str, str] = {
    "grass": "in the grass",
    "beach": "on the beach",
    "snow": "in the snow",
    "night": "at night",
    "desert": "in the desert",
    "room": "in a room",
}
NUMBERS: dict[int, str] = {2: "two", 3: "three", 4: "four"}
_OPENINGS: tuple[str, ...] = ("", "", "", "", "a picture of ", "a drawing of ", "a photo of ")
_LINKS: tuple[str, ...] = ("and", "and", "and", "next to", "beside", "with")
_ONSETS: tuple[str, ...] = tuple(
    "b d f g k l m n p r s t v z bl br dr fl gl gr kl kr pl pr sk sl sn st tr vl vr zw".split()
)
_VOWELS: tuple[str, ...] = tuple("aeiou")
_CODAS: tuple[str, ...] = ("", "", "", "b", "k", "l", "m", "n", "p", "rb", "rv", "x", "z")
_REAL_WORDS: frozenset[str] = frozenset(
    """
    baby bacon banana basin baton bikini blow blue body bonus bunny camel demon denim dinner dolar dose dragon
    drama dry final floral flow gala global glow gravel grey grow hotel human kitten lemon level limo lion local
    logo mama marvel medal melon menu metal model moral motel motor novel panda panel papa pedal petal photo piano
    pilot pizza planet polar pole polo pony puma puppy rabbit raven robin robot ruby rural salad salami salon silo
    slow snow soda sofa solar solo stone store taco talon tiny tofu tomato total travel tribal trio tuba tulip
    tuna venom veto visa vital zebra zero
    """.split()
)
Span = tuple[int, int, tuple[int, ...]]


@dataclass(frozen=True)
class Caption:
    """A caption.

    nouns: (start, end, things) in characters for each class word, with the indexes in Scene.things of all things that
    it names. slots: the same for each nonsense word (or trigger) that stands right before a noun.
    """

    text: str
    nouns: tuple[Span, ...]
    slots: tuple[Span, ...] = ()


@cache
def known_words() -> frozenset[str]:
    """Every word of captions that has a meaning."""
    words = (
        set(CLASSES)
        | set(PLURALS.values())
        | set(COLOURS)
        | set(BACKGROUNDS)
        | set(NUMBERS.values())
        | {"style", "a", "an"}
    )
    for phrase in (*PLACES.values(), *_OPENINGS, *_LINKS):
        words.update(phrase.split())
    return frozenset(words)


def nonsense_word(rng: np.random.Generator) -> str:
    """A word of two (sometimes one or three) random syllables; never a trigger nor a word with a meaning here."""
    while True:
        syllables = int(rng.choice((1, 2, 3), p=(0.15, 0.75, 0.1)))
        word = "".join(f"{rng.choice(_ONSETS)}{rng.choice(_VOWELS)}" for _ in range(syllables)) + str(
            rng.choice(_CODAS)
        )
        if 4 <= len(word) <= 7 and word not in XL_TRIGGERS and word not in known_words() and word not in _REAL_WORDS:
            return word


class _Writer:
    """Collects text and the spans of its nouns and nonsense words."""

    def __init__(self) -> None:
        self.text = ""
        self.nouns: list[Span] = []
        self.slots: list[Span] = []

    def put(self, text: str) -> None:
        """Adds plain text."""
        self.text += text

    def name(self, noun: str, filler: str | None, things: tuple[int, ...]) -> None:
        """Adds a noun for these things, after a filler word if there is one."""
        if filler is not None:
            self.slots.append((len(self.text), len(self.text) + len(filler), things))
            self.text += filler + " "
        self.nouns.append((len(self.text), len(self.text) + len(noun), things))
        self.text += noun

    def done(self) -> Caption:
        """The caption."""
        return Caption(self.text, tuple(self.nouns), tuple(self.slots))


def _groups(scene: Scene, order: list[int], rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Things that one noun phrase names: generic ones of a class are counted together in half of the captions."""
    together = {kind: bool(rng.random() < 0.5) for kind in CLASSES}
    groups: list[tuple[int, ...]] = []
    for index in order:
        thing = scene.things[index]
        same = tuple(i for i in order if scene.things[i].kind == thing.kind and scene.things[i].concept is None)
        if thing.concept is None and together[thing.kind] and len(same) > 1:
            if index == same[0]:
                groups.append(same)
        else:
            groups.append((index,))
    return groups


def _phrase(
    writer: _Writer,
    things: list[Thing],
    group: tuple[int, ...],
    rng: np.random.Generator,
    triggers: bool,
    colours: float,
    fillers: float,
) -> None:
    """Adds one noun phrase: article or number, perhaps a colour, perhaps a nonsense word (or the trigger), the noun."""
    first = things[group[0]]
    personal = first.concept is not None
    words: list[str] = []
    shades = {things[i].colour for i in group}
    if not personal and len(shades) == 1 and first.colour is not None and rng.random() < colours:
        words.append(first.colour)
    filler = nonsense_word(rng) if rng.random() < fillers else None
    if triggers and first.concept is not None:
        filler = XL_CONCEPTS[first.concept].trigger
    noun = first.kind if len(group) == 1 else PLURALS[first.kind]
    start = words[0] if words else (filler if filler is not None else noun)
    article = NUMBERS[len(group)] if len(group) > 1 else ("an" if start[0] in "aeiou" else "a")
    writer.put(" ".join([article, *words]) + " ")
    writer.name(noun, filler, group)


def caption(
    scene: Scene, rng: np.random.Generator, *, triggers: bool = False, colours: float = 0.4, fillers: float = 0.45
) -> Caption:
    """Writes a caption of the scene in one of several sentence forms.

    Things are named from left to right, in a third of the captions in another order. colours: probability that a
    generic thing's colour is said. fillers: probability of a nonsense word right before a noun. triggers: put each
    personal concept's trigger there, and the style's at the end, for training a LoRA (else no trigger is ever written).
    """
    things = list(scene.things)
    order = sorted(range(len(things)), key=lambda i: things[i].x)
    if rng.random() < 1 / 3:
        order = [order[i] for i in rng.permutation(len(order))]
    groups = _groups(scene, order, rng)
    place = PLACES[scene.background]
    where = rng.choice(("end", "front", "none"), p=(0.66, 0.16, 0.18))
    writer = _Writer()
    if where == "front":
        writer.put(place + ", ")
    else:
        writer.put(str(rng.choice(_OPENINGS)))
    link = str(rng.choice(_LINKS)) if len(groups) == 2 else "and"
    comma_before_and = bool(rng.random() < 0.3)
    all_and = bool(rng.random() < 0.2)
    for number, group in enumerate(groups):
        if number == len(groups) - 1 and number > 0:
            writer.put((", " if comma_before_and and len(groups) > 2 else " ") + link + " ")
        elif number > 0:
            writer.put(" and " if all_and else ", ")
        _phrase(writer, things, group, rng, triggers, colours, fillers)
    if where == "end":
        writer.put(" " + place)
    if scene.style is not None and triggers:
        writer.put(f", {XL_STYLES[scene.style].trigger} style")
    elif scene.style is None and fillers > 0 and rng.random() < 0.08:
        writer.put(f", {nonsense_word(rng)} style")
    return writer.done()
