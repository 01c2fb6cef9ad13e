"""Observes the cross-attention layers of a UNet for the rows of a forward."""

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clora_ext.attention.probability import WantedColumns, token_maps
from clora_ext.batch.context import ForwardContext
from clora_ext.batch.plan import Columns
from clora_ext.batch.rows import Row
from clora_ext.core.maps import Grid
from clora_ext.core.shapes import LayerPixels, LayerTokens, RecordedMaps
from clora_ext.errors import BatchError, HostError


class StopForward(BaseException):
    """The last map that is wanted has been recorded: the rest of the forward is not needed."""


class OnLastMap(Enum):
    """What becomes of a forward when the last map that is wanted has been recorded.

    Unless it is to ``GO_ON`` a graph ends earlier, with the last map that a gradient is taken through.
    """

    GO_ON = "go on"
    DETACH = "go on without building a graph"
    STOP = "stop"
    STOP_GRAPH = "stop where the graph ends; the maps that are left out count as nothing"


RowMaps = dict[Row, RecordedMaps]
"""For each row the mean over layers of its maps [column, height, width]."""


class _Ends(NamedTuple):
    """Of the layers of a grid: the last one, the last that a gradient is taken through, and how many maps there are."""

    last: nn.Module
    graph: nn.Module
    maps: int


class Recorder:
    """Sums of the wanted token maps over the layers of one resolution.

    Which columns of a row are wanted says the context's forward; rows that want none cost nothing.
    """

    def __init__(self, context: ForwardContext, graph_layers: Collection[nn.Module] | None = None) -> None:
        self.context = context
        self._graph_layers = graph_layers
        """Those through whose maps a gradient is taken; None for all."""
        self._known: dict[Grid, _Ends] = {}
        self._grid: Grid = (0, 0)
        self._then = OnLastMap.GO_ON
        self._on_map: Callable[[], None] = _ignore
        self._maps: dict[Row, list[Tensor]] = {}
        """Every layer's: they are summed when a graph may be built again."""
        self._wanted: dict[tuple[Columns, ...], WantedColumns] = {}
        self._latest: nn.Module | None = None
        self._latest_graph: nn.Module | None = None
        self._on = False

    @property
    def watching(self) -> bool:
        """Whether what layers compute now is a row's own; not outside a forward, nor for the pixels of a region."""
        return bool(self.context.rows_now) and not self.context.in_region

    def wants(self, pixels: int) -> bool:
        """Whether maps of layers with so many pixels are recorded now."""
        height, width = self._grid
        return self._on and pixels == height * width

    def knows(self, grid: Grid) -> bool:
        """Whether the layer with the last map of ``grid`` is known, from a recorded forward that was not cut short."""
        return grid in self._known

    @contextmanager
    def recording(
        self, grid: Grid, then: OnLastMap = OnLastMap.STOP, on_map: Callable[[], None] | None = None
    ) -> Generator[None, None, None]:
        """While inside, layers whose map is of ``grid`` (height, width) are recorded, and ``on_map`` called after each.

        ``then`` says what happens after the last such layer, once that layer is known: ``STOP`` ends the forward by
        ``StopForward``, which leaves this context and not further. ``on_map`` is told of those of a graph alone.
        """
        graph = torch.is_grad_enabled()
        self.start(grid, then)
        self._on_map = on_map or _ignore
        try:
            yield
        except StopForward:
            pass
        finally:
            self._on, self._on_map = False, _ignore
            torch.set_grad_enabled(graph)

    def start(self, grid: Grid, then: OnLastMap = OnLastMap.GO_ON) -> None:
        """Begin to record; what was recorded before is dropped."""
        self._maps = {}
        self._latest = self._latest_graph = None
        self._grid, self._then, self._on = grid, then, True

    def take(self) -> RowMaps:
        """End the recording and give the maps. Raises ``HostError`` when no layer of that size was seen."""
        self._on = False
        found, self._maps = self._maps, {}
        if not found or self._latest is None:
            height, width = self._grid
            msg = f"The model has no cross-attention map of {width}x{height}; choose another size or map level."
            raise HostError(msg)
        if not self.knows(self._grid):  # a forward that was not cut short has seen them all
            most = max(map(len, found.values()))
            self._known[self._grid] = _Ends(self._latest, self._latest_graph or self._latest, most)
        if self._then is OnLastMap.STOP_GRAPH:
            return {row: reduce(torch.add, maps) / self._known[self._grid].maps for row, maps in found.items()}
        return {row: reduce(torch.add, maps) / len(maps) for row, maps in found.items()}

    def see(self, layer: nn.Module, query: LayerPixels, key: LayerTokens) -> None:
        """A layer has computed its queries [row, pixel, width] and keys [row, token, width]."""
        if not self.wants(query.shape[1]):
            return
        rows = self.context.rows_now
        if len(query) != len(rows):
            msg = f"a cross-attention layer was given {len(query)} samples for {len(rows)} rows"
            raise BatchError(msg)
        self._latest = layer
        self._record(layer, query, key, rows)
        if self._graph_layers is None or layer in self._graph_layers:
            self._latest_graph = layer
            self._on_map()
        if self.context.complete and self.knows(self._grid):
            self._end(layer, self._known[self._grid])

    def _record(self, layer: nn.Module, query: LayerPixels, key: LayerTokens, rows: Sequence[Row]) -> None:
        wanted = self._wanted_of(rows)
        if wanted is None:
            return
        maps = token_maps(wanted.pick(query), wanted.pick(key), *_heads_and_scale(layer), wanted)
        for place, own, found in zip(wanted.places, wanted.columns, maps, strict=True):
            self._maps.setdefault(rows[place], []).append(found[: len(own)].unflatten(-1, self._grid))

    def _wanted_of(self, rows: Sequence[Row]) -> WantedColumns | None:
        """What is wanted of ``rows``, None for nothing; the same again for the same columns of a text."""
        columns = tuple(self.context.forward.columns.get(row, ()) for row in rows)
        if not any(columns):
            return None
        if columns not in self._wanted:
            places = [place for place, own in enumerate(columns) if own]
            self._wanted[columns] = WantedColumns(places, [columns[place] for place in places])
        return self._wanted[columns]

    def _end(self, layer: nn.Module, ends: _Ends) -> None:
        if layer is ends.graph and self._then is not OnLastMap.GO_ON:
            torch.set_grad_enabled(False)
            if self._then is OnLastMap.STOP_GRAPH:
                raise StopForward
        if layer is ends.last and self._then is OnLastMap.STOP:
            raise StopForward


def _heads_and_scale(layer: Any) -> tuple[int, float]:
    """Of a cross-attention layer; ldm, sgm and diffusers agree on these names."""
    return layer.heads, layer.scale


def _ignore() -> None:
    """Nobody asked to be told."""


@contextmanager
def observed(layers: Iterable[nn.Module], recorder: Recorder) -> Generator[None, None, None]:
    """While inside, ``recorder`` sees the queries and keys of ``layers``.

    Forward hooks on ``to_q`` and ``to_k`` see what the layer computed, whatever attention implementation uses it.
    Hooks that change these projections (LoRA) must be installed before, so that they run first.
    """
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_observed_one(layer, recorder))
        yield


@contextmanager
def _observed_one(layer: nn.Module, recorder: Recorder) -> Generator[None, None, None]:
    parts: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            if recorder.watching:
                parts[name] = output

        return hook

    def tell(_: nn.Module, __: Any, ___: Any) -> None:
        if recorder.watching and len(parts) == 2:
            query, key = parts.pop("query"), parts.pop("key")
            recorder.see(layer, query, key)

    handles = [
        layer.get_submodule("to_q").register_forward_hook(keep("query")),
        layer.get_submodule("to_k").register_forward_hook(keep("key")),
        layer.register_forward_hook(tell),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        parts.clear()
