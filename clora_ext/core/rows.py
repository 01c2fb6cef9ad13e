"""Rows of a UNet call: which image, branch and CFG half each one is, and where a split batch stands."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import NamedTuple

from torch import Tensor


class Half(IntEnum):
    """The two halves of classifier-free guidance."""

    COND = 0
    UNCOND = 1


class Row(NamedTuple):
    """One sample of a UNet call; every layer asks what it wears, so it is a tuple of numbers, quick to look up.

    A ``routed`` row has the base's text and draws for all branches: each of its pixels wears the LoRAs, and attends to
    the text, of the branch that the masks give it to.
    """

    image: int
    branch: int
    half: Half = Half.COND
    routed: bool = False


class Passage:
    """The forward that is under way: its rows, and the window of them that the UNet sees right now.

    A host may split one forward into several UNet calls (WebUI does, when the texts' lengths differ or batching is
    off); calls always walk the rows in order, so a cursor tells every hook which rows it looks at.
    """

    def __init__(self) -> None:
        self.rows: tuple[Row, ...] = ()
        self.window: tuple[Row, ...] = ()
        self.seen = 0
        self.inside = False
        """Whether the window shows samples that stand within rows of the forward (``aside``)."""

    @property
    def active(self) -> bool:
        """Whether a forward of ours is under way; every hook is inert otherwise."""
        return bool(self.rows)

    @contextmanager
    def over(self, rows: Sequence[Row]) -> Generator[None, None, None]:
        """While inside, UNet calls are ours and walk ``rows`` in order."""
        self.begin(rows)
        try:
            yield
        finally:
            self.end()

    def begin(self, rows: Sequence[Row]) -> None:
        """Start a forward over ``rows``; a forward that was left half-way is forgotten."""
        self.rows, self.window, self.seen = tuple(rows), (), 0

    def advance(self, batch: int) -> None:
        """The UNet is called with ``batch`` samples. Raises ``RuntimeError`` when that is more rows than are left."""
        if self.seen + batch > len(self.rows):
            msg = f"the UNet was given {self.seen + batch} rows where {len(self.rows)} were planned"
            raise RuntimeError(msg)
        self.window = self.rows[self.seen : self.seen + batch]
        self.seen += batch

    @contextmanager
    def aside(self, rows: Sequence[Row]) -> Generator[None, None, None]:
        """While inside, a single layer of the forward is called on samples that stand for ``rows``."""
        window, self.window, self.inside = self.window, tuple(rows), True
        try:
            yield
        finally:
            self.window, self.inside = window, False

    @contextmanager
    def again(self, window: tuple[Row, ...]) -> Generator[None, None, None]:
        """While inside, a layer runs once more on the rows that it ran on before, whatever is under way by now."""
        before, self.window = self.window, window
        try:
            yield
        finally:
            self.window = before

    def end(self) -> None:
        """The forward is over; hooks are inert again."""
        self.rows, self.window = (), ()


def runs(chosen: Sequence[bool]) -> list[slice]:
    """Contiguous runs of true values, as slices: few large operations instead of one per row."""
    found: list[slice] = []
    start: int | None = None
    for place, value in enumerate([*chosen, False]):
        if value and start is None:
            start = place
        elif not value and start is not None:
            found.append(slice(start, place))
            start = None
    return found


def by_length(rows: Sequence[Row], texts: Callable[[Sequence[Row]], Tensor]) -> list[tuple[list[int], Tensor]]:
    """What one call can see of ``rows``: their places, with their texts [row, token, width] stacked.

    All together, or each half of guidance by itself where the halves' texts differ in length: padded in any way but
    the host's own, a text would get another part of the attention.
    """
    halves = [[place for place, row in enumerate(rows) if row.half is half] for half in Half]
    found = [(places, texts([rows[place] for place in places])) for places in halves if places]
    if len(found) == 1 or len({text.shape[1] for _, text in found}) > 1:
        return found
    return [(list(range(len(rows))), texts(rows))]
