"""A layer with several LoRAs and inputs of their own, small and random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.merge.features import Moments
from clora_ext.merge.layer import FactoredDelta, LayerDelta
from clora_ext.merge.objective import Problem
from clora_ext.merge.span import LoraSpan


@dataclass(frozen=True)
class Case:
    """LoRAs of one layer and what each has been given: [sample, in]."""

    deltas: list[LayerDelta]
    inputs: list[Tensor]

    @property
    def own(self) -> list[Tensor]:
        """Whole differences."""
        return [delta.matrix for delta in self.deltas]

    def moments(self, span: LoraSpan) -> list[Moments]:
        """Of the inputs in a span's coordinates."""
        return [moments(span.seen(x)) for x in self.inputs]

    def problem(self, span: LoraSpan) -> Problem:
        """The layer in a span's coordinates."""
        targets = torch.stack([span.coordinates(delta) for delta in self.deltas])
        return Problem(targets, torch.stack([each.mean for each in self.moments(span)]))


def case(loras: int = 3, rank: int = 2, out: int = 9, width: int = 12, apart: float = 0.5, seed: int = 0) -> Case:
    """Random LoRAs, and inputs that differ by ``apart`` from directions in common; float64."""
    torch.manual_seed(seed)
    deltas = [
        FactoredDelta((out, width), torch.randn(out, rank).double(), torch.randn(rank, width).double())
        for _ in range(loras)
    ]
    common = torch.randn(4, width).double()
    inputs = [torch.randn(20 + i, 4).double() @ (common + torch.randn(4, width) * apart) for i in range(loras)]
    return Case(deltas, inputs)


def moments(samples: Tensor) -> Moments:
    """Of some samples, in their precision."""
    return Moments(samples.T @ samples, len(samples))


EVERYTHING = LoraSpan(None, None)
