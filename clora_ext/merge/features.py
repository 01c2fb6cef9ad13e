"""What is kept of a layer's inputs under one LoRA: their second moments, or some of the inputs themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from clora_ext.merge.span import LoraSpan

FeatureTensors = Mapping[str, Tensor]


@runtime_checkable
class Features(Protocol):
    """What is kept of one layer's inputs, call after call."""

    def add(self, samples: Tensor, *, held: bool) -> None:
        """Take [sample, q] in, as ``seen`` gives them; those that are ``held`` out are not learnt from."""
        ...

    def tensors(self) -> FeatureTensors:
        """To be kept in a file."""
        ...


def seen(layer: nn.Module, x: Tensor, span: LoraSpan) -> Tensor:
    """The inputs of a linear layer or a convolution as samples [sample, q], float32, in a span's coordinates.

    A convolution's samples are the patches that it sees.
    """
    x = x.float()
    if not isinstance(layer, nn.Conv2d):
        return span.seen(x.flatten(0, -2))
    rows = torch.eye(layer.weight[0].numel(), device=x.device) if span.rows is None else span.rows
    kernel = rows.reshape(len(rows), -1, *layer.kernel_size)
    found: Tensor = layer._conv_forward(x, kernel, None)  # noqa: SLF001 - stride and padding are the layer's own
    return found.permute(0, 2, 3, 1).flatten(0, 2)


@dataclass
class Moments:
    """The sum of z z' over all samples z, [q, q], and their number."""

    total: Tensor
    count: int = 0

    @property
    def mean(self) -> Tensor:
        """Per sample."""
        return self.total / max(self.count, 1)

    def seen_by(self, rows: Tensor) -> "Moments":
        """Those of ``rows`` [p, q] times the samples."""
        return Moments(rows @ self.total @ rows.T, self.count)

    def add(self, samples: Tensor) -> None:
        """Samples [sample, q] more."""
        self.total.addmm_(samples.T, samples)
        self.count += len(samples)


@dataclass
class HeldMoments:
    """Moments of what is learnt from and, apart, of what is held out."""

    learned: Moments
    held: Moments

    @classmethod
    def of_width(cls, width: int, device: torch.device) -> "HeldMoments":
        """Of no samples [sample, width] yet."""
        return cls(*(Moments(torch.zeros(width, width, device=device)) for _ in range(2)))

    def add(self, samples: Tensor, *, held: bool) -> None:
        """Samples [sample, q] more."""
        (self.held if held else self.learned).add(samples)

    def tensors(self) -> FeatureTensors:
        """Both sums and numbers."""
        counts = torch.tensor([self.learned.count, self.held.count])
        return {"learned": self.learned.total, "held": self.held.total, "counts": counts}

    @classmethod
    def from_tensors(cls, tensors: FeatureTensors) -> "HeldMoments":
        """As ``tensors`` gave them."""
        learned, held = tensors["counts"].tolist()
        return cls(Moments(tensors["learned"], learned), Moments(tensors["held"], held))


@dataclass
class Samples:
    """At most ``most`` inputs of every call, from the same places of each call whatever the LoRA."""

    most: int
    kept: list[Tensor] = field(default_factory=list)

    def add(self, samples: Tensor, *, held: bool) -> None:
        """Some of the samples [sample, q]; nothing of what is held out."""
        if held:
            return
        if len(samples) > self.most:
            chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(len(self.kept)))
            samples = samples[chosen[: self.most].to(samples.device)]
        self.kept.append(samples.clone())

    def tensors(self) -> FeatureTensors:
        """All of them, [sample, q]."""
        return {"samples": torch.cat(self.kept)}
