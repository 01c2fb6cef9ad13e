"""What is merged, and what is drawn of it: one concept alone, and two in one picture."""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path

from bench.quality.jobs import Job, seeds_of
from bench.quality.methods import Method
from bench.quality.prompts import Prompt, Sampling
from clora_ext.merge.baselines import BASELINES
from clora_ext.merge.methods import MERGE_METHODS
from tiny_world.concepts import XL_CONCEPTS

BEFORE = "before"
"""The row of LoRAs that are not merged."""
MAIN = (BEFORE, "default", "official", "weighted_sum")
"""Rows that are drawn first and most."""
ROWS = (*MAIN, *(name for name in (*MERGE_METHODS, *BASELINES) if name not in MAIN))
SETS = {
    2: ("tuxcat", "browndog"),
    4: ("tuxcat", "browndog", "duoflower", "starball"),
    8: ("tuxcat", "browndog", "duoflower", "hatbunny", "spotdog", "starball", "tigercat", "towerhouse"),
}
"""Concepts that are merged, by their number."""
AGAIN = "-again"
"""The ending of a second name of a merged file, as a binding names one LoRA."""
AT_ONCE = 5
"""Pictures of one text, which are drawn in one batch."""
SINGLE, TWO, TWO_CLORA = "single", "two", "two_clora"
PLAIN = Method("plain", method="merge")
CLORA = Method("clora", profile="balanced", method="clora")
_TEXTS = json.loads((Path(__file__).resolve().parent / "texts.json").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Counts:
    """Pictures of each concept alone, of each pair, and of each pair with CLoRA."""

    single: int
    two: int
    clora: int

    def at_most(self, other: "Counts") -> "Counts":
        """With no more pictures of any kind than the other."""
        single, two, clora = map(min, astuple(self), astuple(other))
        return Counts(single, two, clora)


@dataclass(frozen=True, slots=True)
class Case:
    """One row for one number of concepts. ``ending``: which training of the LoRAs."""

    row: str
    concepts: tuple[str, ...]
    ending: str = ""

    @property
    def file(self) -> str:
        """The stem of the merged file."""
        return f"{self.row}-{len(self.concepts)}{self.ending}"

    def lora(self, concept: str) -> str:
        """The LoRA that draws a concept: its own, or the merged one."""
        return f"{concept}{self.ending}" if self.row == BEFORE else self.file

    # -- prompts -------------------------------------------------------------------------------------------------------

    def single(self, kind: str) -> list[list[Prompt]]:
        """Each concept alone, by the texts of a ``kind``: tuning or reported."""
        return [
            [self._plain(f"{each} {place}", SINGLE, text.format(phrase(each)), (each,)) for each in self.concepts]
            for place, text in enumerate(_TEXTS[kind][SINGLE])
        ]

    def two(self, kind: str, split: str) -> list[list[Prompt]]:
        """Neighbours in the list together, plain or bound to be composed, by texts."""
        made = self._composed if split == TWO_CLORA else self._plain
        pairs = list(pairwise((*self.concepts, self.concepts[0])))
        return [
            [made(f"{a} {b} {place}", split, text.format(phrase(a), phrase(b)), (a, b)) for a, b in pairs]
            for place, text in enumerate(_TEXTS[kind][TWO])
        ]

    def _plain(self, name: str, split: str, text: str, concepts: Sequence[str]) -> Prompt:
        """Its LoRAs on everything, as a host draws tags."""
        loras = tuple(dict.fromkeys(self.lora(concept) for concept in concepts))
        tags = "".join(f" <lora:{lora}:1>" for lora in loras)
        bindings = tuple({"lora": lora, "role": "style"} for lora in loras)
        return Prompt(name, split, text + tags, {}, tuple(concepts), None, bindings)

    def _composed(self, name: str, split: str, text: str, concepts: Sequence[str]) -> Prompt:
        """Every concept bound to its words, a merged file under two names."""
        loras = [self.lora(concept) for concept in concepts]
        if loras[0] == loras[1]:
            loras[1] += AGAIN
        tags = "".join(f" <lora:{lora}:1>" for lora in loras)
        bindings = tuple(
            {"lora": lora, "subject": XL_CONCEPTS[concept].kind, "trigger": XL_CONCEPTS[concept].trigger}
            for lora, concept in zip(loras, concepts, strict=True)
        )
        return Prompt(name, split, text + tags, dict(zip(loras, concepts, strict=True)), (), None, bindings)

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def jobs(self, counts: Counts, kind: str = "reported") -> list[Job]:
        """All pictures, text by text, so that what was drawn in part tells of every concept; the first of a prompt is
        kept."""
        return [
            *_jobs(self.single(kind), counts.single, PLAIN),
            *_jobs(self.two(kind, TWO), counts.two, PLAIN),
            *_jobs(self.two(kind, TWO_CLORA), counts.clora, CLORA),
        ]


def _jobs(prompts: Sequence[Sequence[Prompt]], count: int, method: Method) -> list[Job]:
    """``count`` pictures of each subject, at most ``AT_ONCE`` of a text."""
    each = max(min(count, AT_ONCE), 1)
    drawn = [(prompt, seeds_of(prompt, each)) for of_text in prompts[: ceil(count / each)] for prompt in of_text]
    return [Job(prompt, method, seeds, Sampling(), keep=seeds[:1]) for prompt, seeds in drawn]


def phrase(concept: str) -> str:
    """What calls a concept up."""
    return f"{XL_CONCEPTS[concept].trigger} {XL_CONCEPTS[concept].kind}"
