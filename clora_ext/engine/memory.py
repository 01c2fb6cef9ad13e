"""How many rows of the UNet are run at once: told by an estimate before the first step, halved when that was wrong."""

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from clora_ext.core.rows import Passage, Row
from clora_ext.engine.recomputing import recomputed
from clora_ext.errors import HostError

GRAPH, PLAIN = 450.0, 35.0
"""Bytes that a row takes with a graph up to its last map, and without any, in units of the first layer's output.

The most that was counted among Stable Diffusion 1.x (160), SDXL (450) and with a fused attention kernel; the unit is
2.5 MiB for SD1.x at 512 pixels in half precision. The first graph that is built is measured and takes its place.
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
        self._measured = False

    def place(self, unet: nn.Module, device: torch.device, taken: int, passage: Passage) -> None:
        """The UNet computes on ``device``, where ``taken`` bytes of ours are already; its calls are ``passage``'s."""
        self._unet, self._device, self._taken, self._passage = unet, device, taken, passage
        self._weights = frozenset(map(_key, unet.parameters()))

    def fit(self, size: tuple[int, int], images: int) -> None:
        """Tell how many rows fit for ``images`` latents of (height, width) ``size``; once for each size."""
        if self._unet is None or self._fitted == size:
            return
        self._fitted, self._measured = size, False
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
        self._measured = True  # no estimate counts for more than what happened
        if now > 1 and graph:
            self.graph_rows = half
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

    @contextmanager
    def graph(self, rows: int) -> Generator[None, None, None]:
        """A forward of ``rows`` rows builds its graph inside.

        The first one of a size is measured, and where not even one row fits, the first that keeps less. Weights stay
        where they are.
        """
        saved: dict[int, int] = {}
        measured = self._room is not None and not self._measured and self.kept is not Kept.AWAY
        keep = (lambda found: self._seen(found, saved)) if measured else (lambda found: found)
        with ExitStack() as stack:
            hooks = torch.autograd.graph.saved_tensors_hooks
            if self.kept is Kept.AWAY:
                stack.enter_context(hooks(self._away, lambda packed: packed[1].to(packed[0])))
            elif measured:
                stack.enter_context(hooks(keep, lambda found: found))
            if self.kept is Kept.INPUTS:
                stack.enter_context(recomputed(self._unet, self._passage, keep))
            yield
        if measured:
            self._learn(sum(saved.values()) / rows)

    def _away(self, saved: Tensor) -> tuple[torch.device, Tensor]:
        return saved.device, saved if _key(saved) in self._weights else saved.cpu()

    def _seen(self, found: Tensor, saved: dict[int, int]) -> Tensor:
        if _key(found) not in self._weights:
            saved[_key(found)] = found.untyped_storage().nbytes()
        return found

    def _learn(self, row: float) -> None:
        """A row's graph takes ``row`` bytes."""
        self.graph_rows = max(1, int(self._room / (row + self._transient)))
        fits = self._room >= row + self._transient
        self._measured = fits or self.kept is Kept.INPUTS
        if not fits and self.kept is Kept.ALL:
            self.kept = Kept.INPUTS
        elif not fits and self._device.type == "cuda":
            self.kept = Kept.AWAY


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
