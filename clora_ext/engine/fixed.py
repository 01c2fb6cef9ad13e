"""What a replay reads and writes: tensors that stay where they are, filled anew before every run.

A replay finds its inputs by their addresses. So what a call of the UNet is given is copied into tensors of its own, and
so are the texts that routed rows attend to, which hooks fetch inside of it.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clora_ext.batch.conditions import Condition, Group, StepConditions
from clora_ext.batch.rows import Row

Tree = Any
"""Arguments or results of a call: tensors and plain values, in tuples, lists and dictionaries by name."""


class UnfitError(Exception):
    """Why late steps are not replayed: half a sentence."""


def form_of(tree: Tree) -> Hashable:
    """All of ``tree`` but the numbers in its tensors. Raises ``UnfitError`` for what nobody knows how to keep."""
    if isinstance(tree, Tensor):
        return tree.shape, tree.dtype, tree.device
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return type(tree), tree
    if type(tree) is dict:
        return tuple((name, form_of(part)) for name, part in tree.items())
    if type(tree) in (tuple, list):
        return type(tree), tuple(form_of(part) for part in tree)
    raise UnfitError(f"the UNet is given or gives a {type(tree).__name__}")


def leaves(tree: Tree) -> Iterator[Tensor]:
    """The tensors of ``tree``, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (dict, tuple, list)):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(part)


def mapped(tree: Tree, change: Callable[[Tensor], Tensor]) -> Tree:
    """``tree`` with every tensor changed."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return type(tree)(**{name: mapped(part, change) for name, part in tree.items()})
    return type(tree)(mapped(part, change) for part in tree) if isinstance(tree, (tuple, list)) else tree


class FixedTree:
    """The tensors of a tree in a place of their own. Raises ``UnfitError`` for what nobody knows how to keep."""

    def __init__(self, tree: Tree) -> None:
        self._form = form_of(tree)
        self._kept = mapped(tree, torch.clone)

    def fill(self, tree: Tree) -> None:
        """Other numbers. Raises ``UnfitError`` where not numbers alone are other."""
        if form_of(tree) != self._form:
            raise UnfitError("the UNet is called with another size, or in another way, than before")
        for kept, given in zip(leaves(self._kept), leaves(tree), strict=True):
            kept.copy_(given)

    def shown(self) -> Tree:
        """The kept tensors as objects that nobody has seen: what was made of others is made anew."""
        return mapped(self._kept, Tensor.detach)


class FixedTexts(StepConditions):
    """The texts of a step as hooks ask for them, kept for all steps to come."""

    def __init__(self, now: StepConditions) -> None:
        super().__init__(_none)
        self._now = now
        self._kept: dict[tuple[Row, ...], list[Group]] = {}

    def groups(self, rows: Sequence[Row]) -> list[Group]:
        """Those of the step at which they were asked for first, until they are filled anew."""
        key = tuple(rows)
        if key not in self._kept:
            self._kept[key] = [(places, _copy(condition)) for places, condition in self._now.groups(key)]
        return self._kept[key]

    def fill(self, now: StepConditions) -> None:
        """The texts of another step. Raises ``UnfitError`` where they are not of the same length."""
        for rows, kept in self._kept.items():
            found = now.groups(rows)
            if _forms(found) != _forms(kept):
                raise UnfitError("the texts have another length than before")
            for (_, old), (_, new) in zip(kept, found, strict=True):
                for into, given in zip(_parts(old).values(), _parts(new).values(), strict=True):
                    into.copy_(given)


def _none(_: Sequence[Row]) -> Sequence[Condition]:
    raise RuntimeError("these texts are kept, not fetched")


def _copy(condition: Condition) -> Condition:
    return Condition(**{name: part.clone() for name, part in _parts(condition).items()})


def _parts(condition: Condition) -> Mapping[str, Tensor]:
    named = {"tokens": condition.tokens, "pooled": condition.pooled, "sizes": condition.sizes}
    return {name: part for name, part in named.items() if part is not None}


def _forms(groups: Sequence[Group]) -> Hashable:
    return tuple((tuple(places), form_of(dict(_parts(condition)))) for places, condition in groups)
