"""Each LoRA on its own rows of one batched call, or on its own pixels of one row, and nowhere else.

``LayerDeltas.add`` is the obvious way: one LoRA after the other. It is what is done wherever nothing faster is known.
What is done otherwise, stacked products for all LoRAs at once, is bound when a layer is first called with some rows
(``lora.bound``) and found again at every later step.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clora_ext.batch.context import CalledRows, ForwardContext
from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import BranchLoras, Row
from clora_ext.errors import BatchError
from clora_ext.lora.assignment import RowAssignment
from clora_ext.lora.bound import Program, bound
from clora_ext.lora.deltas import Delta, LowRank
from clora_ext.lora.siblings import join
from clora_ext.lora.stacks import Stack, stacks_in

Deltas = Mapping[str, Mapping[nn.Module, Delta]]
"""What each LoRA, by name, changes in each layer."""


class LayerDeltas:
    """All LoRAs' changes of one layer; where all are of low rank, their factors are stacked."""

    def __init__(
        self, layer: nn.Module, changes: Mapping[str, Delta], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.layer = layer
        ranked = {name: delta for name, delta in changes.items() if isinstance(delta, LowRank)}
        stacked = len(ranked) == len(changes) and stacks_in(layer)
        self.stack = Stack(layer, ranked, device, dtype) if stacked else None
        self._deltas = {} if stacked else {name: delta.to(device, dtype) for name, delta in changes.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return self.stack.nbytes if self.stack else sum(delta.nbytes for delta in self._deltas.values())

    def deltas(self) -> Mapping[str, Delta]:
        """Every LoRA's change by itself."""
        return self.stack.alone() if self.stack else self._deltas

    def add(self, output: Tensor, x: Tensor, rows: RowAssignment, regions: RegionPyramid | None) -> Tensor:
        """``output`` for the input ``x`` with the LoRAs of ``rows``, changed in place: one LoRA after the other.

        A layer may see a multiple of the rows (attention split into tiles): each row then has that many samples in
        turn. Raises ``BatchError`` when the batch is no multiple, or where pixels are told apart, another one.
        """
        parts, rest = divmod(output.shape[0], len(rows))
        if rest or not parts or (parts > 1 and rows.routed):
            raise BatchError(_misfit(output.shape[0], rows))
        for name, delta in self.deltas().items():
            for run, share in rows.runs(name):
                samples = slice(run.start * parts, run.stop * parts)
                change = delta(self.layer, x[samples])
                output[samples] += share * change.to(output.dtype)
            for run, routed in rows.routed:
                share_map = self._share_map(name, routed, output, regions)
                change = delta(self.layer, x[run])
                output[run] += change.to(output.dtype) * share_map
        return output

    def _share_map(self, name: str, rows: Sequence[Row], output: Tensor, regions: RegionPyramid | None) -> Tensor:
        """How much the LoRA counts in every pixel of routed ``rows``, in the shape of the layer's output."""
        if regions is None:
            raise RuntimeError("a routed row is drawn before there are masks")
        size = regions.grid_of(output)
        share = regions.lora_shares(rows, size, ((name, 1),), output)  # row, pixel, 1
        return share.transpose(1, 2).unflatten(-1, size) if size and output.dim() == 4 else share

    def bind(self, rows: RowAssignment, x: Tensor, output: Tensor, regions: RegionPyramid | None) -> Program:
        """What ``add`` does for such an ``x`` and ``output``, in fewer operations where there is a way."""
        found = bound(self.stack, rows, x, output, regions) if self.stack and len(output) == len(rows) else None
        return found or Program(lambda x, output: self.add(output, x, rows, regions), x, output)


def _misfit(samples: int, rows: RowAssignment) -> str:
    cure = "turn tiling off" if rows.routed else "another extension changes the batch"
    return f"a layer was given {samples} samples for {len(rows)} rows; {cure}"


def layer_deltas(
    deltas: Deltas, device: torch.device, dtype: torch.dtype, same_input: Iterable[Sequence[nn.Module]] = ()
) -> list[LayerDeltas]:
    """The changes of ``deltas`` layer by layer, moved to where and as the layers compute.

    ``same_input`` has layers that are given the same input (``lora.siblings``).
    """
    layers: dict[nn.Module, dict[str, Delta]] = {}
    for name, changes in deltas.items():
        for layer, delta in changes.items():
            layers.setdefault(layer, {})[name] = delta
    found = {layer: LayerDeltas(layer, changes, device, dtype) for layer, changes in layers.items()}
    stacks = {layer: each.stack for layer, each in found.items() if each.stack is not None}
    join([stacks[layer] for layer in each if layer in stacks] for each in same_input)
    return list(found.values())


@contextmanager
def loras_on_rows(
    layers: Sequence[LayerDeltas], context: ForwardContext, whole: Collection[nn.Module] = ()
) -> Generator[None, None, None]:
    """While inside, rows of the context's forward have their LoRAs, of which ``layers`` have the changes.

    Rows that are routed have them by pixel, but for the layers in ``whole``, where they are rows like any other.
    Nothing but forward hooks is installed, and they do nothing unless the context is active.
    """

    def hook_for(changed: LayerDeltas) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        by_pixel = changed.layer not in whole

        def add(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            called = context.called
            if called is None:
                return None
            x: Tensor = args[0]
            program: Program | None = called.kept.get(changed)
            if program is None or not program.holds(x, output):
                rows = _assigned(called, context.loras, by_pixel=by_pixel)
                program = called.kept[changed] = changed.bind(rows, x, output, called.regions)
            return program.run(x, output)

        return add

    with ExitStack() as stack:
        for changed in layers:
            handle = changed.layer.register_forward_hook(hook_for(changed))
            stack.callback(handle.remove)
        yield


def _assigned(called: CalledRows, loras: BranchLoras, *, by_pixel: bool) -> RowAssignment:
    """Which LoRAs the called rows have, worked out once for all layers."""
    if by_pixel not in called.kept:
        called.kept[by_pixel] = RowAssignment(called.rows, loras, by_pixel=by_pixel)
    found: RowAssignment = called.kept[by_pixel]
    return found


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
