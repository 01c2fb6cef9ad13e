"""The forward that is under way: what every hook reads, and where a split batch stands."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from clora_ext.batch.conditions import StepConditions
from clora_ext.batch.plan import Columns
from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import BranchLoras, Row
from clora_ext.errors import BatchError


@dataclass(frozen=True, slots=True)
class Forward:
    """One forward of the UNet over ``rows``, which may be several calls."""

    rows: tuple[Row, ...]
    columns: Mapping[Row, Columns] = field(default_factory=dict)
    """The token columns whose maps are wanted, of the rows that show any."""
    regions: RegionPyramid | None = None
    """Who draws which pixel of routed rows; None where no row is routed."""
    conditions: StepConditions | None = None
    """The texts of rows at this sampling point, for what routed rows attend to."""
    late_steps: int = 0
    """How many steps are left, this one too, that call the same on other numbers; 0 for any step but a late one."""


NOTHING = Forward(())
MANY = 100
"""Calls whose rows are kept; masks that move make new ones, for some time."""


class CalledRows:
    """The rows that layers look at now, and what hooks have worked out for them.

    The same rows come again at every step, and this with them, with all that is ``kept``.
    """

    __slots__ = ("in_region", "kept", "regions", "rows")

    def __init__(self, rows: tuple[Row, ...], regions: RegionPyramid | None, *, in_region: bool) -> None:
        self.rows = rows
        self.regions = regions
        """Who draws which pixel, where a row is routed."""
        self.in_region = in_region
        """Whether a layer runs on pixels of regions, each group standing for a row."""
        self.kept: dict[Any, Any] = {}


class ForwardContext:
    """What hooks read; they are inert unless it is ``active``.

    A host may split one forward into several UNet calls (WebUI does, when the texts' lengths differ or batching is
    off); calls always walk the rows in order, so a cursor tells every hook which rows it looks at.

    ```
    rows of the forward    A0 A1 A2 | U0        K = 2, one image: base, two branches, unconditional
    first call             [A0 A1 A2]           rows_now = A0 A1 A2, rows_seen = 3
    second call                        [U0]     rows_now = U0,       rows_seen = 4
    ```
    """

    def __init__(self, loras: BranchLoras) -> None:
        self._loras = loras
        self._met: dict[tuple[tuple[Row, ...], bool], CalledRows] = {}
        self.forward = NOTHING
        self.called: CalledRows | None = None
        """What hooks read; None outside of a forward of ours."""
        self.rows_seen = 0

    @property
    def loras(self) -> BranchLoras:
        """Which LoRAs are active in which branch."""
        return self._loras

    @loras.setter
    def loras(self, loras: BranchLoras) -> None:
        """From now on these; what was worked out for others is forgotten."""
        self._loras = loras
        self.forget()

    @property
    def rows_now(self) -> tuple[Row, ...]:
        """The rows that layers look at; none outside of a forward of ours."""
        return self.called.rows if self.called else ()

    @property
    def in_region(self) -> bool:
        """Whether a layer runs on pixels of regions (``as_rows``)."""
        return self.called is not None and self.called.in_region

    @property
    def active(self) -> bool:
        """Whether a forward of ours is under way."""
        return bool(self.forward.rows)

    @property
    def complete(self) -> bool:
        """Whether the UNet has been called for every row."""
        return self.rows_seen == len(self.forward.rows)

    @contextmanager
    def running(self, forward: Forward) -> Generator[None, None, None]:
        """While inside, UNet calls are ours and walk the rows of ``forward`` in order."""
        self.begin(forward)
        try:
            yield
        finally:
            self.end()

    def begin(self, forward: Forward) -> None:
        """Start a forward; one that was left half-way is forgotten."""
        self.forward, self.called, self.rows_seen = forward, None, 0

    def end(self) -> None:
        """The forward is over; hooks are inert again."""
        self.forward, self.called = NOTHING, None

    def forget(self) -> None:
        """Let go of what was worked out for called rows; it is found anew."""
        self._met.clear()

    def advance(self, batch: int) -> None:
        """The UNet is called with ``batch`` samples. Raises ``BatchError`` when that is more rows than are left."""
        rows, seen = self.forward.rows, self.rows_seen + batch
        if seen > len(rows):
            msg = f"the UNet was given {seen} rows where {len(rows)} were planned"
            raise BatchError(msg)
        self.called = self.called_rows(rows[self.rows_seen : seen])
        self.rows_seen = seen

    def called_rows(self, rows: tuple[Row, ...], *, in_region: bool = False) -> CalledRows:
        """``rows`` of this forward as they are called: what was there before, unless other regions draw now."""
        regions = self.forward.regions if any(row.routed for row in rows) else None
        found = self._met.get((rows, in_region))
        if found is None or found.regions is not regions:
            if len(self._met) > MANY:
                self._met.clear()
            found = self._met[rows, in_region] = CalledRows(rows, regions, in_region=in_region)
        return found

    @contextmanager
    def as_rows(self, rows: Sequence[Row]) -> Generator[None, None, None]:
        """While inside, a single layer of the forward is called on samples that stand for ``rows``."""
        before, self.called = self.called, self.called_rows(tuple(rows), in_region=True)
        try:
            yield
        finally:
            self.called = before

    @contextmanager
    def replaying(self, forward: Forward, rows: tuple[Row, ...]) -> Generator[None, None, None]:
        """While inside, a layer runs once more on the ``rows`` of ``forward`` that it ran on before, whatever is under
        way by now.
        """
        before = self.forward, self.called
        self.forward = forward
        self.called = self.called_rows(rows) if rows else None
        try:
            yield
        finally:
            self.forward, self.called = before
