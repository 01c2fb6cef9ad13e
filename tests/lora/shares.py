"""Rows with any share of any LoRA, and a layer's output with them."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import BranchLoras, Row
from clora_ext.lora.assignment import RowAssignment
from clora_ext.lora.routing import LayerDeltas


class RowShares(BranchLoras):
    """``loras[b]`` are those of a row of branch b, by name, with how much of each."""

    def __init__(self, loras: Sequence[Mapping[str, float]]) -> None:
        super().__init__({branch: tuple(each) for branch, each in enumerate(loras)})
        object.__setattr__(self, "by_branch", dict(enumerate(loras)))

    def of(self, row: Row) -> Mapping[str, float]:
        """The row's LoRAs."""
        return self.by_branch[row.branch]


def added(
    changed: LayerDeltas, x: Tensor, rows: RowAssignment, regions: RegionPyramid | None = None, *, way: str = "bound"
) -> Tensor:
    """The layer's output with the LoRAs of ``rows``, by what is bound for them or one LoRA after the other."""
    output = changed.layer(x)
    if way == "obvious":
        return changed.add(output, x, rows, regions)
    program = changed.bind(rows, x, output, regions)
    assert program.holds(x, output)
    found = program.run(x, output)
    return output if found is None else found
