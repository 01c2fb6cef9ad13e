"""Observes the cross-attention layers of a UNet for the rows of a passage."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from clora_ext.attention.probability import token_maps
from clora_ext.core.concepts import Columns
from clora_ext.core.rows import Passage, Row
from clora_ext.errors import HostError


class Enough(BaseException):
    """The last map that is wanted has been recorded: the rest of the forward is not needed."""


class After(Enum):
    """What becomes of a forward when the last map that is wanted has been recorded."""

    GO_ON = "go on"
    DETACH = "go on without building a graph"
    STOP = "stop"


def cross_attentions(unet: nn.Module) -> dict[str, nn.Module]:
    """The ``attn2`` layers by name; ldm, sgm and diffusers agree on ``to_q``, ``to_k``, ``heads`` and ``scale``."""
    return {name: layer for name, layer in unet.named_modules() if name.endswith("attn2") and hasattr(layer, "to_q")}


def _nobody() -> None:
    """Nobody asked to be told."""


class Recorder:
    """Sums of the wanted token maps over the layers of one resolution.

    ``wants`` tells a row's columns: rows that want none cost nothing.
    """

    def __init__(self, passage: Passage, wants: Callable[[Row], Columns]) -> None:
        self.passage = passage
        self.wants = wants
        self.size = (0, 0)
        self.then = After.GO_ON
        self.last: dict[tuple[int, int], nn.Module] = {}
        self._sums: dict[Row, tuple[Tensor, int]] = {}
        self._latest: nn.Module | None = None
        self._shown: Callable[[], None] = _nobody
        self._on = False

    @property
    def watching(self) -> bool:
        """Whether what layers compute now is a row's own; not outside a passage, nor for the pixels of a region."""
        return bool(self.passage.window) and not self.passage.inside

    def knows(self, size: tuple[int, int]) -> bool:
        """Whether the layer with the last map of ``size`` is known, from a recorded forward that was not cut short."""
        return size in self.last

    @contextmanager
    def recording(
        self, size: tuple[int, int], then: After = After.STOP, seen: Callable[[], None] = _nobody
    ) -> Generator[None, None, None]:
        """While inside, layers whose map is of ``size`` (height, width) are recorded, and ``seen`` called after each.

        ``then`` says what happens after the last such layer, once that layer is known: ``STOP`` ends the forward by
        ``Enough``, which leaves this context and not further.
        """
        graph = torch.is_grad_enabled()
        self.start(size, then)
        self._shown = seen
        try:
            yield
        except Enough:
            pass
        finally:
            self._on, self._shown = False, _nobody
            torch.set_grad_enabled(graph)

    def start(self, size: tuple[int, int], then: After = After.GO_ON) -> None:
        """Begin to record; what was recorded before is dropped."""
        self._sums = {}
        self.size, self.then, self._on = size, then, True

    def take(self) -> dict[Row, Tensor]:
        """End the recording: for each row the mean over layers of its maps [column, height, width].

        Raises ``HostError`` when no layer of that size was seen.
        """
        self._on = False
        sums, self._sums = self._sums, {}
        if not sums or self._latest is None:
            height, width = self.size
            msg = f"The model has no cross-attention map of {width}x{height}; choose another size or map level."
            raise HostError(msg)
        self.last[self.size] = self._latest  # a forward that was not cut short has seen them all
        return {row: total / count for row, (total, count) in sums.items()}

    def seen(self, layer: nn.Module, query: Tensor, key: Tensor) -> None:
        """A layer has computed its queries and keys."""
        window = self.passage.window
        if not self._on or not window or query.shape[1] != self.size[0] * self.size[1]:
            return
        if query.shape[0] != len(window):
            msg = f"a cross-attention layer was given {query.shape[0]} samples for {len(window)} rows"
            raise RuntimeError(msg)
        columns = [self.wants(row) for row in window]
        chosen = [place for place, wanted in enumerate(columns) if wanted]
        self._latest = layer
        if chosen:
            maps = token_maps(query[chosen], key[chosen], layer.heads, layer.scale, [columns[i] for i in chosen])
            for place, found in zip(chosen, maps, strict=True):
                self._add(window[place], found[: len(columns[place])].unflatten(-1, self.size))
        self._shown()
        if self.last.get(self.size) is layer and self.passage.seen == len(self.passage.rows):
            self._finish()

    def _finish(self) -> None:
        if self.then is After.STOP:
            raise Enough
        if self.then is After.DETACH:
            torch.set_grad_enabled(False)

    def _add(self, row: Row, maps: Tensor) -> None:
        total, count = self._sums.get(row, (None, 0))
        self._sums[row] = (maps if total is None else total + maps, count + 1)


@contextmanager
def observed(layers: Sequence[nn.Module], recorder: Recorder) -> Generator[None, None, None]:
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

    def done(_: nn.Module, __: Any, ___: Any) -> None:
        if recorder.watching and len(parts) == 2:
            query, key = parts.pop("query"), parts.pop("key")
            recorder.seen(layer, query, key)

    handles = [
        layer.to_q.register_forward_hook(keep("query")),
        layer.to_k.register_forward_hook(keep("key")),
        layer.register_forward_hook(done),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        parts.clear()
