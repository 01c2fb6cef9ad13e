"""Rows with any share of any LoRA."""

from collections.abc import Mapping, Sequence

from clora_ext.batch.rows import BranchLoras, Row


class RowShares(BranchLoras):
    """``loras[b]`` are those of a row of branch b, by name, with how much of each."""

    def __init__(self, loras: Sequence[Mapping[str, float]]) -> None:
        super().__init__({branch: tuple(each) for branch, each in enumerate(loras)})
        object.__setattr__(self, "by_branch", dict(enumerate(loras)))

    def of(self, row: Row) -> Mapping[str, float]:
        """The row's LoRAs."""
        return self.by_branch[row.branch]
