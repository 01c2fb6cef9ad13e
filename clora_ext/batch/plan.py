"""What is composed: concepts, the branches that draw them, and which cross-attention maps belong together."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.core.shapes import Maps, RecordedMaps
from clora_ext.errors import BindingError

Columns = tuple[int, ...]
"""Positions of tokens in an encoded text: the key axis of cross-attention."""
BranchMaps = Mapping[int, RecordedMaps]
"""One image's recorded maps by branch: [column, height, width], in the order of ``TokenPlan.columns``."""


@dataclass(frozen=True, slots=True)
class Concept:
    """One subject with a LoRA of its own; concept k (from 0) is drawn by branch k + 1.

    ``subject[b]`` are the columns of the subject's words in branch b's text, b = 0 (base) to K;
    ``trigger`` those of the trigger in the concept's own branch, empty for a LoRA that has none.
    Raises ``BindingError`` where a text has no token of the subject.
    """

    name: str
    subject: tuple[Columns, ...]
    trigger: Columns = ()

    def __post_init__(self) -> None:
        if not all(self.subject):
            msg = f"“{self.name}” has no token of its own in one of the branches' texts"
            raise BindingError(msg, field="subject")


@dataclass(frozen=True, slots=True)
class ConceptWord:
    """A word of a branch whose map is compared: the concept that it names, its token columns."""

    concept: int
    columns: Columns
    is_trigger: bool = False


@dataclass(frozen=True, slots=True)
class TokenPlan:
    """One image's concepts; the base branch has none of its own and draws the background.

    Raises ``ValueError`` where a concept knows another number of branches.
    """

    concepts: tuple[Concept, ...]

    def __post_init__(self) -> None:
        for concept in self.concepts:
            if len(concept.subject) != self.branches:
                msg = f"“{concept.name}” knows {len(concept.subject)} branches of {self.branches}"
                raise ValueError(msg)

    @property
    def branches(self) -> int:
        """K + 1: the base and one branch per concept."""
        return len(self.concepts) + 1

    def words(self, branch: int) -> tuple[ConceptWord, ...]:
        """The words of ``branch`` whose maps are compared, trigger before subject.

        Every branch shows every subject; a concept's own branch shows its trigger too (CLoRA, section 3.2).
        """
        found: list[ConceptWord] = []
        for index, concept in enumerate(self.concepts):
            if branch == index + 1 and concept.trigger:
                found.append(ConceptWord(index, concept.trigger, is_trigger=True))
            found.append(ConceptWord(index, concept.subject[branch]))
        return tuple(found)

    def columns(self, branch: int) -> Columns:
        """All token columns to record in ``branch``, in the order of ``words``."""
        found: list[int] = []
        for word in self.words(branch):
            found.extend(word.columns)
        return tuple(found)

    def mask_places(self, concept: int, branch: int, *, trigger: bool) -> list[int]:
        """Places, within ``columns`` of ``branch``, of the tokens that make the concept's mask."""
        places: list[int] = []
        start = 0
        for word in self.words(branch):
            stop = start + len(word.columns)
            if word.concept == concept and (trigger or not word.is_trigger):
                places.extend(range(start, stop))
            start = stop
        return places


NO_CONCEPTS = TokenPlan(())
"""For methods that read no maps."""


def grouped_maps(recorded: BranchMaps, plan: TokenPlan, *, each_token: bool) -> tuple[Maps, tuple[int, ...]]:
    """The maps of the recorded branches and the concept of each.

    With ``each_token`` every token is a map of its own, as the authors' code has it; else a word's tokens are averaged,
    so that a long word weighs no more than a short one.
    """
    maps: list[Tensor] = []
    groups: list[int] = []
    for branch, found in sorted(recorded.items()):
        start = 0
        for word in plan.words(branch):
            tokens = found[start : start + len(word.columns)]
            start += len(word.columns)
            pieces = list(tokens) if each_token else [tokens.mean(0)]
            maps.extend(pieces)
            groups.extend([word.concept] * len(pieces))
    return torch.stack(maps), tuple(groups)
