"""Each LoRA on its own rows of one batched call, or on its own pixels of one row, and nowhere else."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clora_ext.core.regions import Regions
from clora_ext.core.rows import Passage, Row, runs
from clora_ext.lora.deltas import Delta, LowRank

Wears = Callable[[Row], Mapping[str, float]]
"""For a row, the LoRAs it wears by name, and how much of each: 1 for its whole weight."""
Changes = Sequence[tuple[str, Delta]]
"""What each LoRA, by name, changes in one layer."""


def add_to_rows(output: Tensor, x: Tensor, layer: nn.Module, delta: Delta, worn: Sequence[float]) -> None:
    """Add ``delta`` of input ``x`` to ``output``, in place, as much of it as each row has ``worn``.

    A layer may see a multiple of the rows (attention split into tiles): each row then has that many samples in turn.
    Raises ``RuntimeError`` when the batch is no multiple.
    """
    parts, rest = divmod(x.shape[0], len(worn))
    if rest or not parts:
        msg = f"a layer was given {x.shape[0]} samples for {len(worn)} rows; another extension changes the batch"
        raise RuntimeError(msg)
    for run in runs([share > 0.0 for share in worn]):
        where = slice(run.start * parts, run.stop * parts)
        change, shares = delta(layer, x[where]).to(output.dtype), worn[run]
        if min(shares) < 1.0:
            each = change.new_tensor(shares).repeat_interleave(parts)
            change = change * each.reshape(-1, *[1] * (change.dim() - 1))
        output[where] += change


class Pixels:
    """One layer's changes by pixel: every LoRA at the pixels of the branches that wear it.

    The low-rank factors of all LoRAs of a linear layer are one pair of products, with each rank masked in between.
    """

    def __init__(self, layer: nn.Module, changes: Changes) -> None:
        self.layer = layer
        self.ranked = [(n, d) for n, d in changes if isinstance(d, LowRank) and isinstance(layer, nn.Linear)]
        self.others = [change for change in changes if change not in self.ranked]
        self._blocks = [(name, delta.down.shape[0], delta.scale) for name, delta in self.ranked]
        self._factors: tuple[Tensor, Tensor] | None = None

    def add(self, output: Tensor, x: Tensor, rows: Sequence[Row], regions: Regions) -> None:
        """Add the changes for ``x`` to ``output``, in place; both have one sample for each of ``rows``."""
        size = _grid(output, regions)
        if self.ranked:
            down, up = self._stacked(x)
            inner = F.linear(x, down)
            inner = inner * regions.shares(rows, size, self._blocks, inner)
            output += F.linear(inner, up).to(output.dtype)
        for name, delta in self.others:
            share = regions.shares(rows, size, [(name, 1, 1.0)], output)  # row, pixel, 1
            share = share.transpose(1, 2).unflatten(-1, size) if output.dim() == 4 else share
            output += delta(self.layer, x).to(output.dtype) * share

    def _stacked(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self._factors is None:
            down = torch.cat([delta.down.flatten(1) for _, delta in self.ranked])
            up = torch.cat([delta.up.flatten(1) for _, delta in self.ranked], dim=1)
            self._factors = down.to(x.device, x.dtype), up.to(x.device, x.dtype)
        return self._factors


def _grid(output: Tensor, regions: Regions) -> tuple[int, int] | None:
    """The (height, width) of a layer's output; None for one without pixels."""
    if output.dim() == 4:
        return output.shape[-2], output.shape[-1]
    return regions.grid(output.shape[1]) if output.dim() == 3 else None


@contextmanager
def routed(
    deltas: Mapping[str, Mapping[nn.Module, Delta]],
    passage: Passage,
    wears: Wears,
    regions: Callable[[], Regions | None] = lambda: None,
    whole: Collection[nn.Module] = (),
) -> Generator[None, None, None]:
    """While inside, rows of ``passage`` wear their LoRAs. ``deltas`` has, per LoRA, its change of each layer.

    Rows that are routed wear them by pixel, as ``regions`` say, but for the layers in ``whole``, where they are rows
    like any other. Nothing but forward hooks is installed, and they do nothing unless the passage is active.
    """
    layers: dict[nn.Module, list[tuple[str, Delta]]] = {}
    for name, changes in deltas.items():
        for layer, delta in changes.items():
            layers.setdefault(layer, []).append((name, delta))

    def hook_for(layer: nn.Module, changes: Changes) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        pixels = None if layer in whole else Pixels(layer, changes)

        def add(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            window = passage.window
            by_pixel = [pixels is not None and row.routed for row in window]
            whole_rows = [{} if apart else wears(row) for row, apart in zip(window, by_pixel, strict=True)]
            for name, delta in changes:
                worn = [shares.get(name, 0.0) for shares in whole_rows]
                if any(worn):
                    add_to_rows(output, args[0], layer, delta, worn)
            if any(by_pixel) and output.shape[0] != len(window):
                msg = f"a layer was given {output.shape[0]} samples for {len(window)} rows; turn tiling off"
                raise RuntimeError(msg)
            for run in runs(by_pixel):
                pixels.add(output[run], args[0][run], window[run], regions())

        return add

    with ExitStack() as stack:
        for layer, changes in layers.items():
            stack.callback(layer.register_forward_hook(hook_for(layer, changes)).remove)
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
