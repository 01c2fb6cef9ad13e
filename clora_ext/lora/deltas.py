"""What a LoRA adds to one layer, as a function of the layer's input."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
    return layer._conv_forward(x, weight, bias)  # noqa: SLF001 - respects circular padding, which F.conv2d does not


@dataclass(frozen=True, slots=True)
class LowRank:
    """scale * up(down(x)) for a linear layer or a convolution; the multiplier is part of ``scale``.

    ``down`` is [rank, in] or [rank, in, kh, kw], ``up`` [out, rank] or [out, rank, 1, 1].
    """

    down: Tensor
    up: Tensor
    scale: float

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        down, up = self.down.to(x.device, x.dtype), self.up.to(x.device, x.dtype)
        if isinstance(layer, nn.Conv2d):
            inner = _convolve(layer, x, down.reshape(down.shape[0], -1, *_kernel(down, layer)), None)
            return F.conv2d(inner, up.reshape(*up.shape[:2], 1, 1)) * self.scale
        return F.linear(F.linear(x, down.flatten(1)), up.flatten(1)) * self.scale

    def to(self, device: torch.device, dtype: torch.dtype) -> "LowRank":
        return LowRank(self.down.to(device, dtype), self.up.to(device, dtype), self.scale)

    @property
    def nbytes(self) -> int:
        return self.down.nbytes + self.up.nbytes


def _kernel(down: Tensor, layer: nn.Conv2d) -> tuple[int, ...]:
    return tuple(down.shape[2:]) if down.dim() == 4 else layer.kernel_size


@dataclass(frozen=True, slots=True)
class Full:
    """A whole difference of weight and bias, for every kind of LoRA that has no cheap low-rank form."""

    weight: Tensor | None
    bias: Tensor | None = None

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.device, x.dtype)
        bias = None if self.bias is None else self.bias.to(x.device, x.dtype)
        if isinstance(layer, nn.LayerNorm):
            normal = F.layer_norm(x, layer.normalized_shape, None, None, layer.eps)
            return _affine(normal, weight, bias, 0)
        if isinstance(layer, nn.GroupNorm):
            normal = F.group_norm(x, layer.num_groups, None, None, layer.eps)
            return _affine(normal, weight, bias, x.dim() - 2)
        if weight is None:
            extra = 2 if isinstance(layer, nn.Conv2d) else 0
            return bias.reshape(-1, *[1] * extra)
        if isinstance(layer, nn.Conv2d):
            return _convolve(layer, x, weight.reshape(weight.shape[0], -1, *layer.kernel_size), bias)
        return F.linear(x, weight.reshape(layer.weight.shape), bias)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Full":
        move = lambda part: None if part is None else part.to(device, dtype)  # noqa: E731
        return Full(move(self.weight), move(self.bias))

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self.weight, self.bias) if part is not None)


def _affine(normal: Tensor, weight: Tensor | None, bias: Tensor | None, trailing: int) -> Tensor:
    """normal * weight + bias, where ``trailing`` axes follow the channel axis."""
    out = normal * 0.0 if weight is None else normal * weight.reshape(-1, *[1] * trailing)
    return out if bias is None else out + bias.reshape(-1, *[1] * trailing)
