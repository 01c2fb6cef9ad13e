"""How many rows of the UNet are run at once: told by an estimate before the first step, halved when that was wrong."""

import logging
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from clora_ext.core.rows import Passage, Row
from clora_ext.engine.recomputing import recomputed
from clora_ext.errors import HostError

GRAPH, PLAIN = 450.0, 35.0
"""Bytes that a row takes with a graph up to its last map, and without any, in units of the first layer's output.

The most that was counted among Stable Diffusion 1.x (160), SDXL (450) and with a fused attention kernel; the unit is
2.5 MiB for SD1.x at 512 pixels in half precision. What a graph saves is surveyed before the first one is built.
"""
GIB = 2**30
SHARE = 0.9
"""How much of what is free may be counted on."""
Done = TypeVar("Done")
Item = TypeVar("Item")
_log = logging.getLogger(__name__)


class Kept(Enum):
    """What a gradient pass keeps of its forward, from the fastest to what takes least memory."""

    ALL = "all"
    INPUTS = "the inputs of inner layers, which run again"
    AWAY = "all, in the CPU's memory"


class Memory:
    """The room that a composition has on its device, in rows. Before ``place`` and ``fit`` there is no bound.

    ``limit`` is in GiB beyond a plain picture's peak; 0 for as much as is free when ``fit`` is called.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.graph_rows: int | None = None
        """Rows that are differentiated at once; None for any number."""
        self.plain_rows: int | None = None
        """Rows that are predicted at once; None for any number."""
        self.kept = Kept.ALL
        self._notes: list[str] = []
        self._unet: nn.Module | None = None
        self._fitted: tuple[int, int] | None = None
        self._room: float | None = None
        self._most = sys.maxsize
        """What is known by memory that ran out: so many rows are differentiated at most."""

    def place(self, unet: nn.Module, device: torch.device, taken: int, passage: Passage) -> None:
        """The UNet computes on ``device``, where ``taken`` bytes of ours are already; its calls are ``passage``'s."""
        self._unet, self._device, self._taken, self._passage = unet, device, taken, passage
        self._weights = frozenset(map(_key, unet.parameters()))

    def fit(self, size: tuple[int, int], images: int) -> None:
        """Tell how many rows fit for ``images`` latents of (height, width) ``size``; once for each size."""
        if self._unet is None or self._fitted == size:
            return
        self._fitted = size
        room = self.limit * GIB - self._taken if self.limit else _free(self._device)
        if room is None:
            return
        row = row_bytes(self._unet, size)
        if self.limit:
            room += 2.0 * images * row * PLAIN  # what a plain picture takes anyway
        self._room, self._transient = room, row * PLAIN
        self.plain_rows, self.graph_rows = _rows_in(room, row)

    def groups(self, rows: Sequence[Row]) -> list[Sequence[Row]]:
        """``rows`` in the parts in which they are differentiated."""
        return split(rows, self.graph_rows)

    def taken_notes(self) -> list[str]:
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
                if not self._less(rows, graph=graph):
                    msg = "The memory of the GPU is too small for one row of this picture; make the picture smaller."
                    raise HostError(msg) from error
            torch.cuda.empty_cache()

    def _less(self, rows: int, *, graph: bool) -> bool:
        now = min(rows, (self.graph_rows if graph else self.plain_rows) or rows)
        half = (now + 1) // 2
        if now > 1 and graph:
            self.graph_rows = self._most = half
        elif now > 1:
            self.plain_rows = half
        elif graph and self.kept is not Kept.AWAY:
            self.kept = Kept.INPUTS if self.kept is Kept.ALL else Kept.AWAY
        else:
            return False
        what = f"{half} rows at once" if now > 1 else f"graphs that keep {self.kept.value}"
        self._notes.append(f"memory ran out; it goes on with {what}")
        _log.warning("CLoRA: memory ran out; it goes on with %s", what)
        return True

    def survey(self, forward: Callable[[Callable[[], None]], object]) -> None:
        """Tell how many rows fit from what one row's graph would save up to its last map.

        ``forward`` runs one row and calls what it is given whenever a map was made; nothing that it saves is kept.
        """
        if self._room is None or self.kept is Kept.AWAY:
            with torch.no_grad():
                forward(lambda: None)
            return
        ladder = [Kept.ALL, Kept.INPUTS]
        for kept in ladder[ladder.index(self.kept) :]:
            self.kept = kept
            row = self._saved(forward) + self._transient
            self.graph_rows = min(max(1, int(self._room / row)), self._most)
            if row <= self._room:
                return
        self._notes.append(f"differentiating one row takes {row / GIB:.2f} GiB, more than there is to be taken")

    def _saved(self, forward: Callable[[Callable[[], None]], object]) -> int:
        """Bytes that a graph of ``forward`` would save up to its last map."""
        counted: dict[int, StorageWeakRef] = {}  # weak references free the bytes and keep the keys from new storages
        sums = [0]

        def count(found: Tensor) -> None:
            key, storage = _key(found), found.untyped_storage()
            if key not in self._weights and key not in counted:
                counted[key] = StorageWeakRef(storage)
                sums[-1] += storage.nbytes()

        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(count, lambda found: found))
            if self.kept is Kept.INPUTS:
                stack.enter_context(recomputed(self._unet, self._passage, count))
            forward(lambda: sums.append(sums[-1]))
        return sums[-2]

    @contextmanager
    def graph(self) -> Generator[None, None, None]:
        """A forward builds its graph inside. Weights stay where they are."""
        with ExitStack() as stack:
            if self.kept is Kept.INPUTS:
                stack.enter_context(recomputed(self._unet, self._passage))
            elif self.kept is Kept.AWAY:
                hooks = torch.autograd.graph.saved_tensors_hooks
                stack.enter_context(hooks(self._away, lambda packed: packed[1].to(packed[0])))
            yield

    def _away(self, saved: Tensor) -> tuple[torch.device, Tensor]:
        return saved.device, saved if _key(saved) in self._weights else saved.cpu()


def split(rows: Sequence[Item], at_once: int | None) -> list[Sequence[Item]]:
    """``rows``, or their places, in as few parts as possible, as equal as possible, of at most ``at_once``."""
    if at_once is None or not rows:
        return [rows] if rows else []
    parts = -(-len(rows) // at_once)
    ends = [len(rows) * part // parts for part in range(parts + 1)]
    return [rows[start:end] for start, end in pairwise(ends)]


def extra_bytes(row: float, rows: int, graph_rows: int, limit: float) -> float:
    """Bytes beyond a plain picture's peak, as they are counted before anything is measured.

    ``row`` is the unit of ``row_bytes``, ``rows`` and ``graph_rows`` are predicted and differentiated in a step, and
    ``limit`` in GiB, 0 for none, says how many of them at once.
    """
    plain = 2.0 * row * PLAIN
    if limit:
        bounds = _rows_in(limit * GIB + plain, row)
        rows, graph_rows = min(rows, bounds[0]), min(graph_rows, bounds[1])
    return max(rows * row * PLAIN, graph_rows * row * GRAPH, plain) - plain


def _rows_in(room: float, row: float) -> tuple[int, int]:
    """How many rows of ``row`` bytes' unit are predicted, and how many differentiated, in ``room`` bytes."""
    return max(1, int(room / (row * PLAIN))), max(1, int(room / (row * GRAPH)))


def row_bytes(unet: nn.Module, size: tuple[int, int]) -> int:
    """Bytes of the first layer's output for one latent of (height, width) ``size``: the unit of the estimates."""
    first = next(layer for layer in unet.modules() if isinstance(layer, nn.Conv2d))
    return first.out_channels * size[0] * size[1] * first.weight.element_size()


def _key(tensor: Tensor) -> int:
    """What tells one storage from another while both are alive, on any device."""
    return tensor.untyped_storage()._cdata  # noqa: SLF001


def _free(device: torch.device) -> float | None:
    """Bytes that are free on ``device``, what torch's allocator holds in reserve included; None where unknown."""
    if device.type != "cuda":
        return None
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (torch.cuda.mem_get_info(device)[0] + reserve) * SHARE
