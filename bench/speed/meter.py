"""Counts FLOPs and live bytes of what runs on one kind of device, and fuses attention on the meta device."""

import weakref
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from math import prod
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, register_flop_formula, sdpa_backward_flop, sdpa_flop

ATEN = torch.ops.aten


class Meter(TorchDispatchMode):
    """FLOPs (a multiplication and an addition are two) and bytes of the tensors on ``device``, while active.

    Bytes are those of storages that are alive, without those of ``given``, which were there before. A gradient's
    work counts as it is done. FLOPs are those of products: matrices, convolutions, attention.
    """

    def __init__(self, device: str, given: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.device = device
        self.flops = 0
        self.live = 0
        self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in given}

    def start(self) -> None:
        """Begin a new measurement: no FLOPs yet, and a peak of what is alive now."""
        self.flops, self.peak = 0, self.live

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run ``func`` and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        ours = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and leaf.device.type == self.device]
        for tensor in ours:
            self._keep(tensor.untyped_storage())
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None and ours:
            self.flops += formula(*args, **kwargs, out_val=out)
        return out

    def _keep(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


class Operations(TorchDispatchMode):
    """How many of torch's operations are called while active, those of a gradient among them.

    ``views`` of them compute nothing: they show a tensor in another shape.
    """

    def __init__(self) -> None:
        super().__init__()
        self.all = 0
        self.views = 0

    @property
    def without_views(self) -> int:
        """Those that compute."""
        return self.all - self.views

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run ``func`` and count it."""
        self.all += 1
        self.views += any(given.alias_info and not given.alias_info.is_write for given in func._schema.returns)
        return func(*args, **(kwargs or {}))


def _register_cpu_attention() -> None:
    """The CPU's fused attention, which torch's counter knows nothing of."""
    forward = ATEN._scaled_dot_product_flash_attention_for_cpu
    backward = ATEN._scaled_dot_product_flash_attention_for_cpu_backward
    if forward not in flop_registry:
        register_flop_formula(forward)(lambda query, key, value, *_, out_shape=None, **__: sdpa_flop(query, key, value))
    if backward not in flop_registry:
        register_flop_formula(backward)(
            lambda grad, query, key, value, *_, out_shape=None, **__: sdpa_backward_flop(grad, query, key, value)
        )


def _register_in_place() -> None:
    """Products that add to what is there already: torch's counter knows only their other forms."""
    for packet in (ATEN.addmm_, ATEN.baddbmm_):
        if packet not in flop_registry:
            register_flop_formula(packet)(lambda _, left, right, *__, out_shape=None, **___: 2 * prod(left) * right[-1])


_register_cpu_attention()
_register_in_place()


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **more: Any,
) -> Tensor:
    """Attention by the kernel that a GPU would take, on the meta device."""
    if query.device.type != "meta":
        return _ATTENTION(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **more)
    if attn_mask is None:
        return ATEN._scaled_dot_product_flash_attention(query, key, value, 0.0, False, False, scale=scale)[0]
    bias = torch.zeros((), dtype=query.dtype, device="meta").expand(*query.shape[:-1], key.shape[-2])
    saves = query.requires_grad or key.requires_grad
    efficient = ATEN._scaled_dot_product_efficient_attention
    return efficient(query, key, value, bias, saves, 0.0, False, scale=scale)[0]


_ATTENTION = functional.scaled_dot_product_attention


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
    return _AUTOCAST("cpu" if device_type == "meta" else device_type, *args, **kwargs)


_AUTOCAST = torch.autocast


@contextmanager
def meta_as_gpu() -> Generator[None, None, None]:
    """While inside, attention on the meta device is the fused kernel that a GPU would take, not its decomposition.

    ``torch.autocast``, which does not know that device, then takes it for the CPU.
    """
    with (
        mock.patch.object(functional, "scaled_dot_product_attention", _fused),
        mock.patch.object(torch, "autocast", _autocast),
    ):
        yield
