"""`python -m bench.quality.make_prompts`: writes the tuning and the reported prompts.

The two share no prompt, no pair of concepts and no LoRA file: tuning uses the first training of each LoRA, the reported
one the second. All pairs of eight concepts are dealt out once; every group of three or four uses its own side's alone.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from bench.quality.prompts import HERE, Prompt, Sampling, Style, write
from tiny_world.caption import PLACES
from tiny_world.concepts import CONCEPTS, STYLES

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

COLOURED: dict[str, str] = {"tuxcat": "black", "tigercat": "orange", "browndog": "brown", "starball": "blue"}
"""Concepts whose colour has a name: their subject can be two words."""
LINKS = ("and", "next to", "beside", "with")
FORMS = ("after", "before", "end", "bunch", "words")
"""Where the tags stand: after the subject, before it, all at the end, all in front; or a subject of two words."""
STYLE = next(iter(STYLES))
SAMPLING = Sampling()


def groups(size: int, pairs: frozenset[frozenset[str]], *, same: bool) -> list[Group]:
    """Groups of concepts whose every pair is in ``pairs``; of one class (``same``) or of different ones."""
    found = []
    for group in itertools.combinations(CONCEPTS, size):
        kinds = {CONCEPTS[name].kind for name in group}
        inside = all(frozenset(pair) in pairs for pair in itertools.combinations(group, 2))
        if inside and len(kinds) == (1 if same else size):
            found.append(group)
    return found


def pairs_of(side: str) -> frozenset[frozenset[str]]:
    """The pairs of concepts that ``side`` (tuning or reported) may use."""
    if side == "tuning":
        return TUNING_PAIRS
    return frozenset(map(frozenset, itertools.combinations(CONCEPTS, 2))) - TUNING_PAIRS


class _Writer:
    """Writes prompts in changing forms, each text once."""

    def __init__(self, side: str, seed: int) -> None:
        self.suffix = "" if side == "tuning" else "-b"
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
            kinds = {CONCEPTS[name].kind for name in order}
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
        style, words = self._style(split, order)
        tags = "".join(f" <lora:{name}{self.suffix}:1>" for name in order)
        text = f"{tags.strip()} {text}{words}" if form == "bunch" else f"{text}{words}{tags if form == 'end' else ''}"
        subjects = {f"{name}{self.suffix}": name for name in order}
        return Prompt(f"{split}-{number:02}", split, text, subjects, others, style)

    def _phrase(self, name: str, form: str) -> str:
        concept = CONCEPTS[name]
        file = f"{name}{self.suffix}"
        if form == "words" and name in COLOURED:
            words = f"{COLOURED[name]} {concept.kind}"
            return f"a {concept.trigger} {words} <lora:{file}:1:bind={words}:trigger={concept.trigger}>"
        before = f"<lora:{file}:1> " if form == "before" else ""
        after = f" <lora:{file}:1>" if form in ("after", "words") else ""
        return f"a {before}{concept.trigger} {concept.kind}{after}"

    def _style(self, split: str, order: Sequence[str]) -> tuple[Style | None, str]:
        if not split.startswith("style"):
            return None, ""
        file = f"{STYLE}{self.suffix}"
        if split == "style_global":
            return Style(file), f", {STYLES[STYLE].trigger} style <lora:{file}:1:role=style>"
        chosen = order[int(self.rng.integers(len(order)))]
        return Style(file, f"{chosen}{self.suffix}"), f" <lora:{file}:1:on={chosen}{self.suffix}>"


def make(side: str, seed: int = 1) -> list[Prompt]:
    """All prompts of ``side``: groups and forms take turns, so that every one of them comes up."""
    writer = _Writer(side, seed)
    return list(itertools.chain.from_iterable(_split(writer, side, split, n) for split, n in SIZES[side].items()))


def _split(writer: _Writer, side: str, split: str, count: int) -> Iterator[Prompt]:
    size = {"three": 3, "four": 4, "single": 1}.get(split, 2)
    found = groups(size, pairs_of(side), same=split == "same_class")
    found = [found[i] for i in writer.rng.permutation(len(found))]
    for number in range(count):
        yield writer.prompt(split, number + 1, found[number % len(found)], FORMS[(number // 2) % len(FORMS)])


def main() -> None:
    """Writes both files."""
    for side in SIZES:
        write(HERE / f"{side}.json", side, make(side), SAMPLING)


if __name__ == "__main__":
    main()
