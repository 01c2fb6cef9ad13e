"""Who has a hand in the layers of a UNet: what a replay would skip, and what it would go on reading if it moved."""

from collections.abc import Hashable, Iterator
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module

from clora_ext.patching import Function

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")
GLOBAL_HOOKS = ("_global_forward_pre_hooks", "_global_forward_hooks")


class InsideUNet:
    """The layers of ``unet``, whose own ``forward`` is ``original`` while ours stands before it."""

    def __init__(self, unet: nn.Module, original: Function) -> None:
        self._unet, self._original = unet, original

    def functions(self) -> Iterator[Function]:
        """Whatever runs in a call of the UNet: forwards of classes and of single layers, and hooks on any of them."""
        yield self._original
        yield from {type(layer).forward for layer in self._unet.modules()}
        for layer in self._unet.modules():
            own = vars(layer).get("forward")
            if own is not None and layer is not self._unet:
                yield own
            for kind in HOOKS:
                yield from vars(layer).get(kind, {}).values()
        for kind in GLOBAL_HOOKS:
            yield from vars(torch_module)[kind].values()

    def marks(self) -> Hashable:
        """Equal as long as hooks, forwards, and the places of all weights are the same."""
        found: list[Any] = [tuple(vars(torch_module)[kind]) for kind in GLOBAL_HOOKS]
        for layer in self._unet.modules():
            inside = vars(layer)
            found.append(id(inside.get("forward")))
            found.append(id(type(layer).forward))
            for kind in HOOKS:
                found.extend(inside.get(kind, ()))
            found.extend(part.data_ptr() for part in inside["_parameters"].values() if part is not None)
            found.extend(part.data_ptr() for part in inside["_buffers"].values() if part is not None)
        return tuple(found)
