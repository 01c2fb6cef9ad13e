"""Each LoRA on its own rows of one batched call, or on its own pixels of one row, and nowhere else."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clora_ext.batch.context import ForwardContext
from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import BranchLoras, Row, true_runs
from clora_ext.core.maps import Grid
from clora_ext.errors import BatchError
from clora_ext.lora.deltas import Delta, LowRank
from clora_ext.lora.passes import Pass, equal_runs
from clora_ext.lora.stacks import Stack

Deltas = Mapping[str, Mapping[nn.Module, Delta]]
"""What each LoRA, by name, changes in each layer."""
NEAR = 15
"""Sequences of rows that are found by identity: as many as a step has, and some."""


class RowAssignment:
    """Which LoRAs the rows of one UNet call have, worked out once: ``routed`` ones by pixel, all others as a whole."""

    def __init__(self, rows: Sequence[Row], loras: BranchLoras, *, by_pixel: bool) -> None:
        routed = [by_pixel and row.routed for row in rows]
        self.count = len(rows)
        self.routed = tuple((run, rows[run]) for run in true_runs(routed))
        self._loras = tuple({} if is_routed else loras.of(row) for row, is_routed in zip(rows, routed, strict=True))
        self._passes: dict[Any, tuple[list[Pass], list[Pass]]] = {}
        self._runs: dict[str, list[tuple[slice, float]]] = {}

    def passes(self, stack: Stack) -> list[Pass]:
        """How ``stack`` is added to the rows that have its LoRAs as a whole."""
        if stack.kind not in self._passes:
            plain, graph = stack.passes(self._loras), stack.passes(self._loras, graph=True)
            self._passes[stack.kind] = plain, graph
        return self._passes[stack.kind][torch.is_grad_enabled()]

    def runs(self, name: str) -> list[tuple[slice, float]]:
        """Runs of rows that have as much of the LoRA ``name`` as a whole, with how much."""
        if name not in self._runs:
            self._runs[name] = equal_runs([row.get(name, 0.0) for row in self._loras])
        return self._runs[name]


class RowAssignments:
    """The assignment of every sequence of rows that was met; the same sequence comes again at every step.

    They are found anew after the context's LoRAs have changed.
    """

    def __init__(self, context: ForwardContext, *, by_pixel: bool) -> None:
        self._context, self._by_pixel = context, by_pixel
        self._loras = context.loras
        self._found: dict[tuple[Row, ...], RowAssignment] = {}
        self._near: dict[int, tuple[tuple[Row, ...], RowAssignment]] = {}

    def of(self, rows: tuple[Row, ...]) -> RowAssignment:
        """The assignment of ``rows``; asking again for the same object takes no time."""
        if self._loras is not self._context.loras:
            self._loras = self._context.loras
            self._found.clear()
            self._near.clear()
        near = self._near.get(id(rows))
        if near is not None and near[0] is rows:
            return near[1]
        if rows not in self._found:
            self._found[rows] = RowAssignment(rows, self._loras, by_pixel=self._by_pixel)
        if len(self._near) > NEAR:
            self._near.clear()
        self._near[id(rows)] = rows, self._found[rows]
        return self._found[rows]


class LayerDeltas:
    """All LoRAs' changes of one layer: linear layers' low-rank factors stacked, every other kind by itself."""

    def __init__(
        self, layer: nn.Module, changes: Mapping[str, Delta], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.layer = layer
        linear = isinstance(layer, nn.Linear)
        ranked = {name: delta for name, delta in changes.items() if linear and isinstance(delta, LowRank)}
        self.stack = Stack(ranked, device, dtype) if ranked else None
        self.others = {name: delta.to(device, dtype) for name, delta in changes.items() if name not in ranked}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        stack = self.stack.nbytes if self.stack else 0
        return stack + sum(delta.nbytes for delta in self.others.values())

    def add(self, output: Tensor, x: Tensor, rows: RowAssignment, regions: RegionPyramid | None) -> Tensor:
        """``output`` for the input ``x`` with the LoRAs of ``rows``; changed in place, or another tensor.

        A layer may see a multiple of the rows (attention split into tiles): each row then has that many samples in
        turn. Raises ``BatchError`` when the batch is no multiple, or where pixels are told apart, another one.
        """
        parts, rest = divmod(output.shape[0], rows.count)
        if rest or not parts or (parts > 1 and rows.routed):
            raise BatchError(_misfit(output.shape[0], rows))
        if self.stack is not None:
            for products in rows.passes(self.stack):
                output = self.stack.add_to_rows(output, x, products, parts)
        for name, delta in self.others.items():
            for run, share in rows.runs(name):
                samples = slice(run.start * parts, run.stop * parts)
                change = delta(self.layer, x[samples])
                output[samples] += share * change.to(output.dtype)
        for run, routed in rows.routed:
            output = self._add_to_pixels(output, x, run, routed, regions)
        return output

    def _add_to_pixels(
        self, output: Tensor, x: Tensor, run: slice, rows: Sequence[Row], regions: RegionPyramid | None
    ) -> Tensor:
        if regions is None:
            raise RuntimeError("a routed row is drawn before there are masks")
        size = _grid_of(output, regions)
        if self.stack is not None:
            shares = regions.lora_shares(rows, size, self.stack.blocks, output)  # row, pixel, rank
            output = self.stack.add_to_pixels(output, x, run, shares.view(-1, shares.shape[-1]))
        for name, delta in self.others.items():
            share = regions.lora_shares(rows, size, ((name, 1),), output)  # row, pixel, 1
            if size is not None and output.dim() == 4:
                share = share.transpose(1, 2).unflatten(-1, size)  # row, 1, height, width
            change = delta(self.layer, x[run])
            output[run] += change.to(output.dtype) * share
        return output


def _misfit(samples: int, rows: RowAssignment) -> str:
    cure = "turn tiling off" if rows.routed else "another extension changes the batch"
    return f"a layer was given {samples} samples for {rows.count} rows; {cure}"


def _grid_of(output: Tensor, regions: RegionPyramid) -> Grid | None:
    """The (height, width) of a layer's output; None for one without pixels."""
    if output.dim() == 4:
        return output.shape[-2], output.shape[-1]
    return regions.grid(output.shape[1]) if output.dim() == 3 else None


def layer_deltas(deltas: Deltas, device: torch.device, dtype: torch.dtype) -> list[LayerDeltas]:
    """The changes of ``deltas`` layer by layer, moved to where and as the layers compute."""
    layers: dict[nn.Module, dict[str, Delta]] = {}
    for name, changes in deltas.items():
        for layer, delta in changes.items():
            layers.setdefault(layer, {})[name] = delta
    return [LayerDeltas(layer, changes, device, dtype) for layer, changes in layers.items()]


@contextmanager
def loras_on_rows(
    layers: Sequence[LayerDeltas], context: ForwardContext, whole: Collection[nn.Module] = ()
) -> Generator[None, None, None]:
    """While inside, rows of the context's forward have their LoRAs, of which ``layers`` have the changes.

    Rows that are routed have them by pixel, but for the layers in ``whole``, where they are rows like any other.
    Nothing but forward hooks is installed, and they do nothing unless the context is active.
    """
    by_pixel = RowAssignments(context, by_pixel=True)
    as_a_whole = RowAssignments(context, by_pixel=False)

    def hook_for(changed: LayerDeltas) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        assignments = as_a_whole if changed.layer in whole else by_pixel

        def add(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            rows = context.rows_now
            if not rows:
                return None
            return changed.add(output, args[0], assignments.of(rows), context.forward.regions)

        return add

    with ExitStack() as stack:
        for changed in layers:
            handle = changed.layer.register_forward_hook(hook_for(changed))
            stack.callback(handle.remove)
        yield


@contextmanager
def counting_calls(model: nn.Module, context: ForwardContext) -> Generator[None, None, None]:
    """While inside, every call of ``model`` moves the context on by its batch."""

    def advance(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if context.active:
            sample = args[0] if args else next(iter(kwargs.values()))
            context.advance(len(sample))

    handle = model.register_forward_pre_hook(advance, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
