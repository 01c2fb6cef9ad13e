"""`python -m bench.quality.make_prompts`: writes the tuning and the reported prompts of both worlds.

The two sides share no prompt and no pair of concepts: all pairs are dealt out once, and every group of three or four
uses its own side's alone. Of the first world they share no LoRA file either: tuning uses the first training of each,
the reported one the second. The world of SDXL's topology has one training, and prompts with noise.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.quality.prompts import HERE, Prompt, Sampling, Style, write
from tiny_world.caption import PLACES
from tiny_world.concepts import CONCEPTS, STYLES, XL_CONCEPTS, XL_STYLES, Concept
from tiny_world.noise import ADJECTIVES, QUALITY, VERBS

Group = tuple[str, ...]

_CORE = ("tuxcat", "browndog", "hatbunny", "starball")
TUNING_PAIRS: frozenset[frozenset[str]] = frozenset(
    frozenset(pair)
    for pair in (
        *itertools.combinations(_CORE, 2),
        ("tigercat", "hatbunny"),
        ("tuxcat", "spotdog"),
        ("browndog", "spotdog"),
        ("starball", "towerhouse"),
        ("hatbunny", "duoflower"),
    )
)
"""Pairs to tune on, those of `make check-world` and of the demo among them; all others are reported on."""

SIZES: dict[str, dict[str, int]] = {
    "tuning": {
        "two": 24, "three": 8, "four": 4, "same_class": 8, "style_global": 6, "style_on_one": 6, "single": 4,
    },
    "reported": {
        "two": 40, "three": 20, "four": 10, "same_class": 20, "style_global": 20, "style_on_one": 20, "single": 10,
    },
}  # fmt: skip
"""Prompts per split."""

XL_SIZES: dict[str, int] = {
    "two": 32, "three": 12, "four": 6, "same_class": 12, "style_global": 8, "style_on_one": 8, "single": 4,
}  # fmt: skip
"""Prompts per split of either side of the other world: four seeds of each are over 300 pictures."""

COLOURED: dict[str, str] = {"tuxcat": "black", "tigercat": "orange", "browndog": "brown", "starball": "blue"}
"""Concepts whose colour has a name: their subject can be two words."""
LINKS = ("and", "next to", "beside", "with")
FORMS = ("after", "before", "end", "bunch", "words")
"""Where the tags stand: after the subject, before it, all at the end, all in front; or a subject of two words."""
SAMPLING = Sampling()
XL_SEED = 11
"""Of the deal of that world's pairs: both sides get pairs of one class and groups of four."""


@dataclass(frozen=True)
class Book:
    """What one world's prompts are made of.

    concepts and styles by name; endings of the LoRA files' names by side; tuning: the pairs to tune on; sizes by side;
    noisy: whether half of the prompts carry words that draw nothing; ending: of the files' names.
    """

    concepts: Mapping[str, Concept]
    styles: Mapping[str, str]
    endings: Mapping[str, str]
    tuning: frozenset[frozenset[str]]
    sizes: Mapping[str, Mapping[str, int]]
    sampling: Sampling
    noisy: bool = False
    ending: str = ""

    def pairs_of(self, side: str) -> frozenset[frozenset[str]]:
        """The pairs of concepts that ``side`` (tuning or reported) may use."""
        if side == "tuning":
            return self.tuning
        return frozenset(map(frozenset, itertools.combinations(self.concepts, 2))) - self.tuning

    def groups(self, size: int, side: str, *, same: bool) -> list[Group]:
        """Groups of concepts whose every pair is ``side``'s; of one class (``same``) or of different ones."""
        found, pairs = [], self.pairs_of(side)
        for group in itertools.combinations(self.concepts, size):
            kinds = {self.concepts[name].kind for name in group}
            inside = all(frozenset(pair) in pairs for pair in itertools.combinations(group, 2))
            if inside and len(kinds) == (1 if same else size):
                found.append(group)
        return found


def dealt(concepts: Mapping[str, Concept], seed: int) -> frozenset[frozenset[str]]:
    """Half of all pairs at random, and half of those of one class among them."""
    rng = np.random.default_rng(seed)
    pairs = list(itertools.combinations(concepts, 2))
    same = [pair for pair in pairs if concepts[pair[0]].kind == concepts[pair[1]].kind]
    chosen: list[tuple[str, str]] = []
    for some in (same, [pair for pair in pairs if pair not in same]):
        chosen += [some[i] for i in rng.permutation(len(some))[: len(some) // 2]]
    return frozenset(map(frozenset, chosen))


FIRST = Book(
    concepts=CONCEPTS,
    styles={name: style.trigger for name, style in STYLES.items()},
    endings={"tuning": "", "reported": "-b"},
    tuning=TUNING_PAIRS,
    sizes=SIZES,
    sampling=SAMPLING,
)
XL = Book(
    concepts=XL_CONCEPTS,
    styles={name: style.trigger for name, style in XL_STYLES.items()},
    endings={"tuning": "-xl", "reported": "-xl"},
    tuning=dealt(XL_CONCEPTS, XL_SEED),
    sizes={"tuning": XL_SIZES, "reported": XL_SIZES},
    sampling=Sampling(width=192, height=192),
    noisy=True,
    ending="-xl",
)
BOOKS = (FIRST, XL)


class _Writer:
    """Writes prompts in changing forms, each text once."""

    def __init__(self, book: Book, side: str, seed: int) -> None:
        self.book = book
        self.suffix = book.endings[side]
        self.rng = np.random.default_rng([seed, side == "tuning"])
        self.seen: set[str] = set()

    def prompt(self, split: str, number: int, group: Group, form: str) -> Prompt:
        """A prompt with ``group`` in a random order."""
        for _ in range(1000):
            made = self._try(split, number, group, form)
            if made.prompt not in self.seen:
                self.seen.add(made.prompt)
                return made
        msg = f"there are no more different prompts of {group}: ask for fewer in SIZES"
        raise ValueError(msg)

    def _try(self, split: str, number: int, group: Group, form: str) -> Prompt:
        rng = self.rng
        order = [group[i] for i in rng.permutation(len(group))]
        if form == "words" and not any(name in COLOURED for name in order):
            form = "after"
        phrases = [self._phrase(name, form) for name in order]
        link = str(rng.choice(LINKS)) if len(order) == 2 else "and"
        others: tuple[str, ...] = ()
        if split == "single" and rng.random() < 0.5:
            kinds = {self.book.concepts[name].kind for name in order}
            others = (str(rng.choice([kind for kind in ("ball", "flower", "house", "dog") if kind not in kinds])),)
            phrases.append(f"a {others[0]}")
        comma = rng.random() < 0.5
        middle = (", " if comma else " and ").join(phrases[:-1])
        text = f"{middle} {link} {phrases[-1]}" if middle else phrases[-1]
        place = PLACES[str(rng.choice(list(PLACES)))]
        where = rng.random()
        text = f"{place}, {text}" if where < 0.25 else f"{text} {place}"
        if 0.25 <= where < 0.5 and form != "bunch":
            text = f"{rng.choice(['a picture of', 'a drawing of', 'a photo of'])} {text}"
        if self.book.noisy and rng.random() < 0.5:
            text = self._noise(text)
        style, words = self._style(split, order)
        tags = "".join(f" <lora:{name}{self.suffix}:1>" for name in order)
        text = f"{tags.strip()} {text}{words}" if form == "bunch" else f"{text}{words}{tags if form == 'end' else ''}"
        subjects = {f"{name}{self.suffix}": name for name in order}
        return Prompt(f"{split}-{number:02}", split, text, subjects, others, style)

    def _phrase(self, name: str, form: str) -> str:
        concept = self.book.concepts[name]
        file = f"{name}{self.suffix}"
        verb, adjective = self._words()
        if form == "words" and name in COLOURED:
            words = f"{COLOURED[name]} {concept.kind}"
            tag = f"<lora:{file}:1:bind={words}:trigger={concept.trigger}>"
            return f"a {adjective}{concept.trigger} {words} {tag}{verb}"
        before = f"<lora:{file}:1> " if form == "before" else ""
        after = f" <lora:{file}:1>" if form in ("after", "words") else ""
        return f"a {adjective}{before}{concept.trigger} {concept.kind}{after}{verb}"

    def _words(self) -> tuple[str, str]:
        """A verb and an adjective for a noun, or nothing."""
        if not self.book.noisy:
            return "", ""
        verb = f" {self.rng.choice(VERBS)}" if self.rng.random() < 0.25 else ""
        return verb, f"{self.rng.choice(ADJECTIVES)} " if self.rng.random() < 0.25 else ""

    def _noise(self, text: str) -> str:
        """Tags around a prompt, or a second sentence."""
        front, back = (", ".join(self.rng.choice(QUALITY[:29], size=2, replace=False)) for _ in range(2))
        forms = (f"{front}, {text}", f"{text}, {back}", f"{front}, {text}, {back}", f"{text}. The light is soft.")
        return forms[int(self.rng.integers(len(forms)))]

    def _style(self, split: str, order: Sequence[str]) -> tuple[Style | None, str]:
        if not split.startswith("style"):
            return None, ""
        name = self._style_name()
        file = f"{name}{self.suffix}"
        if split == "style_global":
            return Style(file), f", {self.book.styles[name]} style <lora:{file}:1:role=style>"
        chosen = order[int(self.rng.integers(len(order)))]
        return Style(file, f"{chosen}{self.suffix}"), f" <lora:{file}:1:on={chosen}{self.suffix}>"

    def _style_name(self) -> str:
        names = list(self.book.styles)
        return names[0] if len(names) == 1 else names[int(self.rng.integers(len(names)))]


def make(side: str, seed: int = 1, book: Book = FIRST) -> list[Prompt]:
    """All prompts of ``side``: groups and forms take turns, so that every one of them comes up."""
    writer = _Writer(book, side, seed)
    return list(itertools.chain.from_iterable(_split(writer, side, split, n) for split, n in book.sizes[side].items()))


def _split(writer: _Writer, side: str, split: str, count: int) -> Iterator[Prompt]:
    size = {"three": 3, "four": 4, "single": 1}.get(split, 2)
    found = writer.book.groups(size, side, same=split == "same_class")
    found = [found[i] for i in writer.rng.permutation(len(found))]
    for number in range(count):
        yield writer.prompt(split, number + 1, found[number % len(found)], FORMS[(number // 2) % len(FORMS)])


def main() -> None:
    """Writes both files of both worlds."""
    for book in BOOKS:
        for side in book.sizes:
            name = f"{side}{book.ending}"
            write(HERE / f"{name}.json", name, make(side, book=book), book.sampling)


if __name__ == "__main__":
    main()
