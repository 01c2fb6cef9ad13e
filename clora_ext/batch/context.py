"""The forward that is under way: what every hook reads, and where a split batch stands."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

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


NOTHING = Forward(())


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
        self.loras = loras
        self.forward = NOTHING
        self.rows_now: tuple[Row, ...] = ()
        self.rows_seen = 0
        self.in_region = False
        """Whether a layer runs on pixels of regions, each group standing for a row (``as_rows``)."""

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
        self.forward, self.rows_now, self.rows_seen = forward, (), 0

    def end(self) -> None:
        """The forward is over; hooks are inert again."""
        self.forward, self.rows_now = NOTHING, ()

    def advance(self, batch: int) -> None:
        """The UNet is called with ``batch`` samples. Raises ``BatchError`` when that is more rows than are left."""
        rows, seen = self.forward.rows, self.rows_seen + batch
        if seen > len(rows):
            msg = f"the UNet was given {seen} rows where {len(rows)} were planned"
            raise BatchError(msg)
        self.rows_now = rows[self.rows_seen : seen]
        self.rows_seen = seen

    @contextmanager
    def as_rows(self, rows: Sequence[Row]) -> Generator[None, None, None]:
        """While inside, a single layer of the forward is called on samples that stand for ``rows``."""
        before, self.rows_now, self.in_region = self.rows_now, tuple(rows), True
        try:
            yield
        finally:
            self.rows_now, self.in_region = before, False

    @contextmanager
    def replaying(self, forward: Forward, rows: tuple[Row, ...]) -> Generator[None, None, None]:
        """While inside, a layer runs once more on the ``rows`` of ``forward`` that it ran on before, whatever is under
        way by now.
        """
        before = self.forward, self.rows_now
        self.forward, self.rows_now = forward, rows
        try:
            yield
        finally:
            self.forward, self.rows_now = before
