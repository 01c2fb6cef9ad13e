"""Rows of a UNet call: which image, branch and half of guidance each one is, and which LoRAs are active in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple


class Half(IntEnum):
    """The two halves of classifier-free guidance."""

    COND = 0
    UNCOND = 1


class Row(NamedTuple):
    """One sample of a UNet call. Every layer looks it up, so it is a tuple of numbers.

    A ``routed`` row has the base's text and draws for all branches: at each of its pixels it has the LoRAs, and
    attends to the text, of the branch whose region the pixel is in.
    """

    image: int
    branch: int
    half: Half = Half.COND
    routed: bool = False


@dataclass(frozen=True, slots=True)
class BranchLoras:
    """Which LoRAs are active in each branch, base (0) first; unconditional rows have the share ``uncond`` of them."""

    by_branch: Mapping[int, Sequence[str]]
    uncond: float = 1.0
    now: Mapping[str, float] = field(default_factory=dict)
    """How much of a LoRA's weight counts at this sampling point, in all rows; 1 where nothing is said."""

    @property
    def branches(self) -> tuple[int, ...]:
        """All branches, base first."""
        return tuple(sorted(self.by_branch))

    def share_in(self, half: Half) -> float:
        """How much of a LoRA's weight counts in ``half``."""
        return self.uncond if half is Half.UNCOND else 1.0

    def share_of(self, name: str, branch: int) -> float:
        """How much of a LoRA's weight counts in conditional rows of ``branch``."""
        return self.now.get(name, 1.0) if name in self.by_branch[branch] else 0.0

    def of(self, row: Row) -> Mapping[str, float]:
        """The LoRAs of the row's branch, by name, with how much of each: 1 for its whole weight."""
        half = self.share_in(row.half)
        return {name: half * self.share_of(name, row.branch) for name in self.by_branch[row.branch]}


def true_runs(values: Sequence[bool]) -> list[slice]:
    """Contiguous runs of true values, as slices: few large operations instead of one per row.

    >>> true_runs([True, True, False, True])
    [slice(0, 2, None), slice(3, 4, None)]
    """
    found: list[slice] = []
    start: int | None = None
    for place, value in enumerate([*values, False]):
        if value and start is None:
            start = place
        elif not value and start is not None:
            found.append(slice(start, place))
            start = None
    return found
