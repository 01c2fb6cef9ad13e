"""Each LoRA on its own rows of one batched call, or on its own pixels of one row, and nowhere else."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clora_ext.core.regions import Regions
from clora_ext.core.rows import Passage, Row, runs
from clora_ext.lora.deltas import Delta, LowRank
from clora_ext.lora.stacks import Stack, Turn, stretches

Wears = Callable[[Row], Mapping[str, float]]
"""For a row, the LoRAs it wears by name, and how much of each: 1 for its whole weight."""
Deltas = Mapping[str, Mapping[nn.Module, Delta]]
"""What each LoRA, by name, changes in each layer."""


class Plan:
    """What the rows of one UNet call wear, worked out once: ``routed`` ones by pixel, all others as a whole."""

    def __init__(self, rows: Sequence[Row], wears: Wears, *, by_pixel: bool) -> None:
        self.count = len(rows)
        self.routed = tuple((run, rows[run]) for run in runs([by_pixel and row.routed for row in rows]))
        self._worn = tuple({} if by_pixel and row.routed else wears(row) for row in rows)
        self._turns: dict[Any, tuple[list[Turn], list[Turn]]] = {}
        self._stretches: dict[str, list[tuple[slice, float]]] = {}

    def turns(self, stack: Stack) -> list[Turn]:
        """How ``stack`` is added to the rows that wear it as a whole."""
        if stack.kind not in self._turns:
            self._turns[stack.kind] = stack.turns(self._worn), stack.turns(self._worn, graph=True)
        return self._turns[stack.kind][torch.is_grad_enabled()]

    def stretches(self, name: str) -> list[tuple[slice, float]]:
        """Runs of rows that wear as much of the LoRA ``name`` as a whole, with how much."""
        if name not in self._stretches:
            self._stretches[name] = stretches([worn.get(name, 0.0) for worn in self._worn])
        return self._stretches[name]


class Plans:
    """The plan of every sequence of rows that was met; the same sequence comes again at every step."""

    def __init__(self, wears: Wears, *, by_pixel: bool) -> None:
        self._wears, self._by_pixel = wears, by_pixel
        self._found: dict[tuple[Row, ...], Plan] = {}
        self._near: dict[int, tuple[tuple[Row, ...], Plan]] = {}

    def of(self, rows: tuple[Row, ...]) -> Plan:
        """The plan for ``rows``; asking again for the same object takes no time."""
        near = self._near.get(id(rows))
        if near is not None and near[0] is rows:
            return near[1]
        if rows not in self._found:
            self._found[rows] = Plan(rows, self._wears, by_pixel=self._by_pixel)
        if len(self._near) > 15:
            self._near.clear()
        self._near[id(rows)] = rows, self._found[rows]
        return self._found[rows]


class Changed:
    """All LoRAs' changes of one layer: linear layers' low-rank factors stacked, every other kind by itself."""

    def __init__(
        self, layer: nn.Module, changes: Mapping[str, Delta], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.layer = layer
        ranked = {n: d for n, d in changes.items() if isinstance(d, LowRank) and isinstance(layer, nn.Linear)}
        self.stack = Stack(ranked, device, dtype) if ranked else None
        self.others = {name: delta.to(device, dtype) for name, delta in changes.items() if name not in ranked}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        stack = self.stack.nbytes if self.stack else 0
        return stack + sum(delta.nbytes for delta in self.others.values())

    def add(self, output: Tensor, x: Tensor, plan: Plan, regions: Callable[[], Regions | None]) -> Tensor:
        """``output`` for the input ``x`` with what the rows of ``plan`` wear; changed in place, or another one.

        A layer may see a multiple of the rows (attention split into tiles): each row then has that many samples in
        turn. Raises ``RuntimeError`` when the batch is no multiple, or where pixels are told apart, another one.
        """
        parts, rest = divmod(output.shape[0], plan.count)
        if rest or not parts or (parts > 1 and plan.routed):
            cure = "turn tiling off" if plan.routed else "another extension changes the batch"
            msg = f"a layer was given {output.shape[0]} samples for {plan.count} rows; {cure}"
            raise RuntimeError(msg)
        if self.stack is not None:
            for turn in plan.turns(self.stack):
                output = self.stack.add_to_rows(output, x, turn, parts)
        for name, delta in self.others.items():
            for run, share in plan.stretches(name):
                where = slice(run.start * parts, run.stop * parts)
                output[where] += share * delta(self.layer, x[where]).to(output.dtype)
        for run, rows in plan.routed:
            output = self._add_to_pixels(output, x, run, rows, regions())
        return output

    def _add_to_pixels(self, output: Tensor, x: Tensor, run: slice, rows: Sequence[Row], regions: Regions) -> Tensor:
        size = _grid(output, regions)
        if self.stack is not None:
            shares = regions.shares(rows, size, self.stack.blocks, output)
            output = self.stack.add_to_pixels(output, x, run, shares.view(-1, shares.shape[-1]))
        for name, delta in self.others.items():
            share = regions.shares(rows, size, ((name, 1),), output)  # row, pixel, 1
            share = share.transpose(1, 2).unflatten(-1, size) if output.dim() == 4 else share
            output[run] += delta(self.layer, x[run]).to(output.dtype) * share
        return output


def _grid(output: Tensor, regions: Regions) -> tuple[int, int] | None:
    """The (height, width) of a layer's output; None for one without pixels."""
    if output.dim() == 4:
        return output.shape[-2], output.shape[-1]
    return regions.grid(output.shape[1]) if output.dim() == 3 else None


def placed(deltas: Deltas, device: torch.device, dtype: torch.dtype) -> list[Changed]:
    """The changes of ``deltas`` layer by layer, moved to where and as the layers compute."""
    layers: dict[nn.Module, dict[str, Delta]] = {}
    for name, changes in deltas.items():
        for layer, delta in changes.items():
            layers.setdefault(layer, {})[name] = delta
    return [Changed(layer, changes, device, dtype) for layer, changes in layers.items()]


@contextmanager
def routed(
    layers: Sequence[Changed],
    passage: Passage,
    wears: Wears,
    regions: Callable[[], Regions | None] = lambda: None,
    whole: Collection[nn.Module] = (),
) -> Generator[None, None, None]:
    """While inside, rows of ``passage`` wear their LoRAs, of which ``layers`` have the changes.

    Rows that are routed wear them by pixel, as ``regions`` say, but for the layers in ``whole``, where they are rows
    like any other. A row wears the same all the time. Nothing but forward hooks is installed, and they do nothing
    unless the passage is active.
    """
    by_pixel, as_a_whole = Plans(wears, by_pixel=True), Plans(wears, by_pixel=False)

    def hook_for(changed: Changed) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        plans = as_a_whole if changed.layer in whole else by_pixel

        def add(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            window = passage.window
            return changed.add(output, args[0], plans.of(window), regions) if window else None

        return add

    with ExitStack() as stack:
        for changed in layers:
            stack.callback(changed.layer.register_forward_hook(hook_for(changed)).remove)
        yield


@contextmanager
def counted(unet: nn.Module, passage: Passage) -> Generator[None, None, None]:
    """While inside, every call of ``unet`` moves the passage's window by its batch."""

    def advance(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if passage.active:
            sample = args[0] if args else next(iter(kwargs.values()))
            passage.advance(sample.shape[0])

    handle = unet.register_forward_pre_hook(advance, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
