"""Each LoRA on its own rows of one batched call, and on no others."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from clora_ext.core.rows import Passage, Row, runs
from clora_ext.lora.deltas import Delta

Wears = Callable[[Row], Sequence[str]]
"""For a row, the names of the LoRAs it wears."""


def add_to_rows(output: Tensor, x: Tensor, layer: nn.Module, delta: Delta, chosen: Sequence[bool]) -> None:
    """Add ``delta`` of input ``x`` to the chosen rows of ``output``, in place, in contiguous runs.

    A layer may see a multiple of the rows (attention split into tiles): each row then has that many samples in turn.
    Raises ``RuntimeError`` when the batch is no multiple.
    """
    parts, rest = divmod(x.shape[0], len(chosen))
    if rest or not parts:
        msg = f"a layer was given {x.shape[0]} samples for {len(chosen)} rows; another extension changes the batch"
        raise RuntimeError(msg)
    for run in runs(chosen):
        where = slice(run.start * parts, run.stop * parts)
        output[where] += delta(layer, x[where]).to(output.dtype)


@contextmanager
def routed(
    deltas: Mapping[str, Mapping[nn.Module, Delta]], passage: Passage, wears: Wears
) -> Generator[None, None, None]:
    """While inside, rows of ``passage`` wear their LoRAs. ``deltas`` has, per LoRA, its change of each layer.

    Nothing but forward hooks is installed, and they do nothing unless the passage is active.
    """
    layers: dict[nn.Module, list[tuple[str, Delta]]] = {}
    for name, changes in deltas.items():
        for layer, delta in changes.items():
            layers.setdefault(layer, []).append((name, delta))

    def hook_for(changes: list[tuple[str, Delta]]) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def add(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            if not passage.window:
                return
            for name, delta in changes:
                chosen = [name in wears(row) for row in passage.window]
                if any(chosen):
                    add_to_rows(output, args[0], layer, delta, chosen)

        return add

    with ExitStack() as stack:
        for layer, changes in layers.items():
            stack.callback(layer.register_forward_hook(hook_for(changes)).remove)
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
