"""How many rows of the UNet are run at once: told by an estimate before the first step, halved when that was wrong."""

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn

from clora_ext.batch.rows import Row
from clora_ext.core.maps import Grid
from clora_ext.engine.graphs import GraphKeeps, GraphMemory, RunForward
from clora_ext.errors import HostError

GRAPH, PLAIN = 450.0, 35.0
"""Bytes that a row takes with a graph up to its last map, and without any, in units of the first layer's output.

The most that was counted among Stable Diffusion 1.x (160), SDXL (450) and with a fused attention kernel; the unit is
2.5 MiB for SD1.x at 512 pixels in half precision. What a graph saves is surveyed before the first one is built.
"""
GIB = 2**30
Done = TypeVar("Done")
Item = TypeVar("Item")
_log = logging.getLogger(__name__)


class Memory:
    """The room that a composition has on its device, in rows. Before ``fit`` there is no bound.

    ``limit`` is in GiB beyond a plain picture's peak, 0 for as much as ``free_bytes`` tells. Where the ``share`` of
    that is more than the limit, it counts instead. ``taken`` are bytes of ours that are on the device already.
    """

    def __init__(
        self,
        limit: float,
        graphs: GraphMemory,
        taken: int = 0,
        free_bytes: Callable[[], float | None] = lambda: None,
        share: float = 0.0,
    ) -> None:
        self.limit = limit
        self.share = share
        self.graphs = graphs
        self.graph_rows: int | None = None
        """Rows that are differentiated at once; None for any number."""
        self.plain_rows: int | None = None
        """Rows that are predicted at once; None for any number."""
        self.keeps = GraphKeeps.ALL
        self._taken = taken
        self._free_bytes = free_bytes
        self._notes: list[str] = []
        self._fitted: Grid | None = None
        self._room: float | None = None
        self._plain = 0.0
        """Bytes of a plain picture's rows."""
        self._plain_row = 0.0
        """Bytes of a row without a graph."""
        self._most = sys.maxsize
        """What is known by memory that ran out: so many rows are differentiated at most."""

    def fit(self, size: Grid, images: int) -> None:
        """Tell how many rows fit for ``images`` latents of (height, width) ``size``; once for each size."""
        if self._fitted == size:
            return
        self._fitted = size
        row = row_bytes(self.graphs.unet, size)
        self._plain_row = row * PLAIN
        self._plain = 2.0 * images * self._plain_row
        self._room = self._found_room()
        if self._room is not None:
            self.plain_rows, self.graph_rows = _rows_in(self._room, row)

    def _found_room(self) -> float | None:
        return room_bytes(self.limit, self.share, self._plain - self._taken, self._free_bytes())

    def holds(self, rows: int) -> bool:
        """Whether what so many rows take without a graph fits at once."""
        return self._room is None or rows * self._plain_row <= self._room

    def groups(self, rows: Sequence[Row]) -> list[Sequence[Row]]:
        """``rows`` in the parts in which they are differentiated."""
        return split_evenly(rows, self.graph_rows)

    def differentiates(self, rows: int) -> bool:
        """Whether so many rows can be differentiated at once."""
        return self.graph_rows is None or rows <= self.graph_rows

    def building_graph(self) -> AbstractContextManager[None]:
        """A forward builds its graph inside."""
        return self.graphs.building(self.keeps)

    def take_notes(self) -> list[str]:
        """What happened since this was asked last."""
        notes, self._notes = self._notes, []
        return notes

    def guarded(self, action: Callable[[], Done], rows: int, *, graph: bool) -> Done:
        """Run ``action`` over ``rows`` rows; when memory runs out, again with half of them at once.

        Raises ``HostError`` when not even one row fits.
        """
        while True:
            try:
                return action()
            except torch.cuda.OutOfMemoryError as error:
                if not self._take_less(rows, graph=graph):
                    msg = "The memory of the GPU is too small for one row of this picture; make the picture smaller."
                    raise HostError(msg) from error
            torch.cuda.empty_cache()

    def _take_less(self, rows: int, *, graph: bool) -> bool:
        """Halve the rows, or keep less of them. Gives whether there was anything left to do."""
        bound = self.graph_rows if graph else self.plain_rows
        now = min(rows, bound or rows)
        half = (now + 1) // 2
        if now > 1 and graph:
            self.graph_rows = self._most = half
        elif now > 1:
            self.plain_rows = half
        elif graph and self.keeps is not GraphKeeps.AWAY:
            self.keeps = GraphKeeps.INPUTS if self.keeps is GraphKeeps.ALL else GraphKeeps.AWAY
        else:
            return False
        what = f"{half} rows at once" if now > 1 else f"graphs that keep {self.keeps.value}"
        self._notes.append(f"memory ran out; it goes on with {what}")
        _log.warning("CLoRA: memory ran out; it goes on with %s", what)
        return True

    def survey(self, forward: RunForward) -> None:
        """Tell how many rows fit from what one row's graph would save up to its last map, and from what is free now
        that the whole UNet has come to the device, which some hosts only bring there for its calls.
        """
        if self._room is None or self.keeps is GraphKeeps.AWAY:
            with torch.no_grad():
                forward(lambda: None)
            return
        ladder = [GraphKeeps.ALL, GraphKeeps.INPUTS]
        for keeps in ladder[ladder.index(self.keeps) :]:
            self.keeps = keeps
            row = self.graphs.saved_bytes(forward, keeps) + self._plain_row
            room = self._found_room() or 0.0
            self.graph_rows = min(max(1, int(room / row)), self._most)
            if row <= room:
                return
        self._notes.append(f"differentiating one row takes {row / GIB:.2f} GiB, more than there is to be taken")


def split_evenly(items: Sequence[Item], at_once: int | None) -> list[Sequence[Item]]:
    """``items`` in as few parts as possible, as equal as possible, of at most ``at_once``.

    >>> split_evenly([1, 2, 3, 4, 5], 2)
    [[1], [2, 3], [4, 5]]
    """
    if at_once is None or not items:
        return [items] if items else []
    parts = -(-len(items) // at_once)
    ends = [len(items) * part // parts for part in range(parts + 1)]
    return [items[start:end] for start, end in pairwise(ends)]


def room_bytes(limit: float, share: float, plain: float, free: float | None) -> float | None:
    """Bytes that may be taken, of which ``plain`` are a plain picture's; None for no bound.

    These are ``limit`` GiB beyond it and no more than are ``free``, or the ``share`` of what is free where that is
    more; with no limit, 0, all that is free.
    """
    if not limit:
        return free
    room = limit * GIB + plain
    return room if free is None else max(min(room, free), share * free)


def extra_bytes(row: float, rows: int, graph_rows: int, room: float | None, replayed: int = 0) -> float:
    """Bytes beyond a plain picture's peak, as they are counted before anything is measured.

    ``row`` is the unit of ``row_bytes``, ``rows`` and ``graph_rows`` are predicted and differentiated in a step, and
    ``room`` in bytes, None for no bound, says how many of them at once. ``replayed`` rows of a late step are predicted
    in memory of their own, beside which there is one that is called.
    """
    plain = plain_bytes(row)
    twice = 2.0 * replayed * row * PLAIN
    if room is not None:
        most_rows, most_graph_rows = _rows_in(room, row)
        rows, graph_rows = min(rows, most_rows), min(graph_rows, most_graph_rows)
        twice = twice if twice <= room else 0.0  # it is not done then
    peak = max(rows * row * PLAIN, graph_rows * row * GRAPH, twice, plain)
    return peak - plain


def plain_bytes(row: float) -> float:
    """Bytes of one plain picture's rows, of which each is ``row`` units."""
    return 2.0 * row * PLAIN


def _rows_in(room: float, row: float) -> tuple[int, int]:
    """How many rows of ``row`` bytes' unit are predicted, and how many differentiated, in ``room`` bytes."""
    return max(1, int(room / (row * PLAIN))), max(1, int(room / (row * GRAPH)))


def row_bytes(unet: nn.Module, size: Grid) -> int:
    """Bytes of the first layer's output for one latent of (height, width) ``size``: the unit of the estimates."""
    first = next(layer for layer in unet.modules() if isinstance(layer, nn.Conv2d))
    height, width = size
    return first.out_channels * height * width * first.weight.element_size()
