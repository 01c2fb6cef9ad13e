"""What a LoRA adds to one layer, as a function of the layer's input."""

from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@runtime_checkable
class Delta(Protocol):
    """A change of one layer that is added to the layer's output."""

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The addend for input ``x`` of ``layer``."""
        ...

    def to(self, device: torch.device, dtype: torch.dtype) -> "Delta":
        """The same change, where and as the layer computes."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        ...


def _convolve(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer's own convolution (stride, padding mode, groups) with other weights."""
    missing = layer.weight.shape[1] - weight.shape[1]
    if missing > 0:  # an inpainting model's first convolution has more input channels than the LoRA knows
        weight = F.pad(weight, (0, 0, 0, 0, 0, missing))
    found: Tensor = layer._conv_forward(x, weight, bias)  # noqa: SLF001 - pads in a circle where the layer does
    return found


@dataclass(frozen=True, slots=True)
class LowRank:
    """scale * up(down(x)) for a linear layer or a convolution; the multiplier is part of ``scale``.

    ``down`` is [rank, in] or [rank, in, kh, kw], ``up`` [out, rank] or [out, rank, 1, 1].
    """

    down: Tensor
    up: Tensor
    scale: float

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The addend for input ``x``: [..., in] to [..., out], or [row, in, y, x] to [row, out, y, x]."""
        down, up = self.down.to(x.device, x.dtype), self.up.to(x.device, x.dtype)
        if isinstance(layer, nn.Conv2d):
            kernel = down.shape[2:] if down.dim() == 4 else layer.kernel_size
            inner = _convolve(layer, x, down.reshape(down.shape[0], -1, *kernel), None)
            outer = F.conv2d(inner, up.reshape(*up.shape[:2], 1, 1))
        else:
            inner = F.linear(x, down.flatten(1))
            outer = F.linear(inner, up.flatten(1))
        return outer * self.scale

    def to(self, device: torch.device, dtype: torch.dtype) -> "LowRank":
        """The same change elsewhere."""
        return LowRank(self.down.to(device, dtype), self.up.to(device, dtype), self.scale)

    def fits(self, layer: nn.Module) -> bool:
        """Whether the factors have the sizes of ``layer``, a linear one or a convolution.

        A convolution may have more inputs: an inpainting model's first one has those of its mask.
        """
        weight = cast(Tensor, layer.weight)
        out, inputs = weight.shape[0], weight[0].numel()
        taken = self.down[0].numel()
        if isinstance(layer, nn.Conv2d):
            return self.up.shape[0] == out and taken <= inputs
        return self.up.shape[0] == out and taken == inputs

    @property
    def nbytes(self) -> int:
        """Bytes of both factors."""
        return self.down.nbytes + self.up.nbytes


@dataclass(frozen=True, slots=True)
class DenseDelta:
    """A whole difference of weight and bias, for every kind of LoRA that has no cheap low-rank form."""

    weight: Tensor | None
    bias: Tensor | None = None

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The addend for input ``x``, of the shape of the layer's output; a bias only broadcasts to it."""
        weight, bias = (None if part is None else part.to(x.device, x.dtype) for part in (self.weight, self.bias))
        if isinstance(layer, nn.LayerNorm):
            normal = F.layer_norm(x, layer.normalized_shape, None, None, layer.eps)
            return _affine(normal, weight, bias, 0)
        if isinstance(layer, nn.GroupNorm):
            normal = F.group_norm(x, layer.num_groups, None, None, layer.eps)
            return _affine(normal, weight, bias, x.dim() - 2)
        if weight is None:
            return _bias_only(layer, bias)
        if isinstance(layer, nn.Conv2d):
            kernel = weight.reshape(weight.shape[0], -1, *layer.kernel_size)
            return _convolve(layer, x, kernel, bias)
        own = cast(Tensor, layer.weight)
        return F.linear(x, weight.reshape(own.shape), bias)

    def to(self, device: torch.device, dtype: torch.dtype) -> "DenseDelta":
        """The same change elsewhere."""
        weight, bias = (None if part is None else part.to(device, dtype) for part in (self.weight, self.bias))
        return DenseDelta(weight, bias)

    @property
    def nbytes(self) -> int:
        """Bytes of what there is of weight and bias."""
        return sum(part.nbytes for part in (self.weight, self.bias) if part is not None)


def _bias_only(layer: nn.Module, bias: Tensor | None) -> Tensor:
    if bias is None:
        raise ValueError("a delta has neither weight nor bias")
    trailing = [1, 1] if isinstance(layer, nn.Conv2d) else []
    return bias.reshape(-1, *trailing)


def _affine(normal: Tensor, weight: Tensor | None, bias: Tensor | None, trailing: int) -> Tensor:
    """normal * weight + bias, where ``trailing`` axes follow the channel axis."""
    ones = [1] * trailing
    out = normal * 0.0 if weight is None else normal * weight.reshape(-1, *ones)
    return out if bias is None else out + bias.reshape(-1, *ones)
