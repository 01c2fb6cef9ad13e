"""What is composed: concepts, the branches that draw them, and which cross-attention maps belong together."""

from dataclasses import dataclass

from clora_ext.errors import BindingError

Columns = tuple[int, ...]
"""Positions of tokens in an encoded text: the key axis of cross-attention."""


@dataclass(frozen=True, slots=True)
class Concept:
    """One subject with a LoRA of its own; concept k (from 0) is drawn by branch k + 1.

    ``subject[b]`` are the columns of the subject's words in branch b's text, b = 0 (base) to K;
    ``trigger`` those of the trigger in the concept's own branch, empty for a LoRA that has none.
    """

    name: str
    subject: tuple[Columns, ...]
    trigger: Columns = ()

    def __post_init__(self) -> None:
        if not all(self.subject):
            msg = f"“{self.name}” has no token of its own in one of the branches' texts"
            raise BindingError(msg, field="subject")


@dataclass(frozen=True, slots=True)
class Plan:
    """One image's concepts; the base branch has none of its own and draws the background."""

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

    def words(self, branch: int) -> tuple[tuple[int, Columns], ...]:
        """The words of ``branch`` whose maps are compared: (concept, columns) pairs, trigger before subject.

        Every branch shows every subject; a concept's own branch shows its trigger too (CLoRA, section 3.2).
        """
        pairs: list[tuple[int, Columns]] = []
        for index, concept in enumerate(self.concepts):
            if branch == index + 1 and concept.trigger:
                pairs.append((index, concept.trigger))
            pairs.append((index, concept.subject[branch]))
        return tuple(pairs)

    def columns(self, branch: int) -> Columns:
        """All token columns to record in ``branch``, in the order of ``words``."""
        return tuple(column for _, columns in self.words(branch) for column in columns)

    def own(self, concept: int, *, trigger: bool, branch: int | None = None) -> tuple[int, ...]:
        """Places, within ``columns`` of ``branch``, of the tokens that make the concept's mask; its own by default."""
        branch = concept + 1 if branch is None else branch
        places: list[int] = []
        start = 0
        for index, columns in self.words(branch):
            is_trigger = index == concept == branch - 1 and columns == self.concepts[concept].trigger
            if index == concept and (trigger or not is_trigger):
                places.extend(range(start, start + len(columns)))
            start += len(columns)
        return tuple(places)
