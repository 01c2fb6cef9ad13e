"""Which LoRAs the rows of one UNet call have."""

from collections.abc import Sequence
from typing import Any

from clora_ext.batch.regions import Blocks, by_column
from clora_ext.batch.rows import BranchLoras, Row, true_runs
from clora_ext.lora.passes import Pass, RowLoras, equal_runs
from clora_ext.lora.stacks import Stack


class RowAssignment:
    """Which LoRAs ``rows`` have: ``routed`` ones by pixel, all others as a whole.

    Without ``by_pixel`` routed rows are rows like any other, of the base.
    """

    def __init__(self, rows: Sequence[Row], loras: BranchLoras, *, by_pixel: bool) -> None:
        self.rows = tuple(row if by_pixel else row._replace(routed=False) for row in rows)
        self.routed = tuple((run, self.rows[run]) for run in true_runs([row.routed for row in self.rows]))
        self.loras: RowLoras = tuple({} if row.routed else loras.of(row) for row in self.rows)
        self._passes: dict[Any, list[Pass]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def all_routed(self) -> bool:
        """Whether every row is."""
        return all(row.routed for row in self.rows)

    def has_any(self, stack: Stack) -> bool:
        """Whether any row has a LoRA of the stack's, or may have one at some pixel."""
        return bool(self.routed) or any(row.get(name) for row in self.loras for name in stack.names)

    def runs(self, name: str) -> list[tuple[slice, float]]:
        """Runs of rows that have as much of the LoRA ``name`` as a whole, with how much."""
        return equal_runs([row.get(name, 0.0) for row in self.loras])

    def passes(self, stack: Stack, *, graph: bool) -> list[Pass]:
        """How ``stack`` is added by row to the rows that have its LoRAs as a whole; with a ``graph`` to all rows."""
        key = stack.names, stack.rank, graph
        if key not in self._passes:
            self._passes[key] = stack.passes(self.loras, graph=graph)
        return self._passes[key]

    def columns(self, blocks: Blocks) -> list[list[float]]:
        """How much counts of every column of ``blocks`` in each row that has its LoRAs as a whole."""
        return [by_column(row, blocks) for row in self.loras]
