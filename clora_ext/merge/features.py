"""What is kept of a layer's inputs: their second moments, or some of the inputs themselves."""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from clora_ext.merge.span import LoraSpan

Tensors = dict[str, Tensor]


class Features(Protocol):
    """What is kept of one layer's inputs under one LoRA, call after call."""

    def add(self, samples: Tensor) -> None:
        """Take [sample, q] in, as ``seen`` gives them."""
        ...

    def tensors(self) -> Tensors:
        """To be kept in a file."""
        ...


def seen(layer: nn.Module, x: Tensor, span: LoraSpan) -> Tensor:
    """The inputs of a linear layer or a convolution as samples [sample, q], float32, in a span's coordinates.

    A convolution's samples are the patches that it sees.
    """
    x = x.float()
    if not isinstance(layer, nn.Conv2d):
        return span.seen(x.flatten(0, -2))
    if span.rows is None:
        eye = torch.eye(layer.weight[0].numel(), device=x.device)
        return _patches(layer, x, eye)
    return _patches(layer, x, span.rows.to(x.device))


def _patches(layer: nn.Conv2d, x: Tensor, rows: Tensor) -> Tensor:
    """By the layer's own convolution, so that stride and padding are its own."""
    kernel = rows.reshape(len(rows), -1, *layer.kernel_size)
    found: Tensor = layer._conv_forward(x, kernel, None)  # noqa: SLF001 - pads in a circle where the layer does
    return found.permute(0, 2, 3, 1).flatten(0, 2)


@dataclass
class Moments:
    """The sum of z z' over all samples z, [q, q], and their number."""

    total: Tensor
    count: int = 0

    @classmethod
    def of_width(cls, width: int, device: torch.device | None = None) -> "Moments":
        """Of no samples yet."""
        return cls(torch.zeros(width, width, device=device))

    @property
    def mean(self) -> Tensor:
        """Per sample."""
        return self.total / max(self.count, 1)

    def add(self, samples: Tensor) -> None:
        """Samples [sample, q] more."""
        self.total.addmm_(samples.T, samples)
        self.count += len(samples)

    def tensors(self) -> Tensors:
        """To be kept in a file."""
        return {"total": self.total, "count": torch.tensor(self.count)}

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> "Moments":
        """As ``tensors`` gave them."""
        return cls(tensors["total"], int(tensors["count"]))


@dataclass
class Samples:
    """At most ``most`` inputs of every call, the same places of each call whatever the LoRA."""

    most: int
    _kept: list[Tensor] = field(default_factory=list)

    def add(self, samples: Tensor) -> None:
        """Some of the samples [sample, q]."""
        if len(samples) > self.most:
            chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(len(self._kept)))
            samples = samples[chosen[: self.most].sort().values.to(samples.device)]
        self._kept.append(samples.clone())

    def tensors(self) -> Tensors:
        """To be kept in a file."""
        return {"samples": torch.cat(self._kept)}
