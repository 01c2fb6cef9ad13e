"""What a gradient pass keeps of its forward, and how many bytes that is."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from enum import Enum

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from clora_ext.batch.context import ForwardContext
from clora_ext.engine.checkpointing import checkpointed

OnMap = Callable[[], None]
RunForward = Callable[[OnMap], object]
"""Runs one row up to its last map and calls what it is given after every map."""


class GraphKeeps(Enum):
    """What a graph keeps, from the fastest to what takes least memory."""

    ALL = "all"
    INPUTS = "the inputs of inner layers, which run again"
    AWAY = "all, in the CPU's memory"


class GraphMemory:
    """Builds the graphs of forwards of one UNet in any of the ways of ``GraphKeeps``."""

    def __init__(self, unet: nn.Module, context: ForwardContext) -> None:
        self.unet = unet
        self.context = context
        self._weights = frozenset(map(_storage_key, unet.parameters()))

    def saved_bytes(self, forward: RunForward, keeps: GraphKeeps) -> int:
        """Bytes that a graph of ``forward`` would save up to its last map; nothing of it is kept."""
        counted: dict[int, StorageWeakRef] = {}  # weak references free the bytes and keep the keys from new storages
        total = 0
        up_to_map = 0

        def count(found: Tensor) -> None:
            nonlocal total
            key, storage = _storage_key(found), found.untyped_storage()
            if key not in self._weights and key not in counted:
                counted[key] = StorageWeakRef(storage)
                total += storage.nbytes()

        def on_map() -> None:
            nonlocal up_to_map
            up_to_map = total

        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(count, lambda found: found))
            if keeps is GraphKeeps.INPUTS:
                stack.enter_context(checkpointed(self.unet, self.context, count))
            forward(on_map)
        return up_to_map

    @contextmanager
    def building(self, keeps: GraphKeeps) -> Generator[None, None, None]:
        """A forward builds its graph inside. Weights stay where they are."""
        with ExitStack() as stack:
            if keeps is GraphKeeps.INPUTS:
                stack.enter_context(checkpointed(self.unet, self.context))
            elif keeps is GraphKeeps.AWAY:
                hooks = torch.autograd.graph.saved_tensors_hooks
                stack.enter_context(hooks(self._to_cpu, _back))
            yield

    def _to_cpu(self, saved: Tensor) -> tuple[torch.device, Tensor]:
        is_weight = _storage_key(saved) in self._weights
        return saved.device, saved if is_weight else saved.cpu()


def _back(packed: tuple[torch.device, Tensor]) -> Tensor:
    device, saved = packed
    return saved.to(device)


def _storage_key(tensor: Tensor) -> int:
    """What tells one storage from another while both are alive, on any device."""
    key: int = tensor.untyped_storage()._cdata  # noqa: SLF001
    return key
