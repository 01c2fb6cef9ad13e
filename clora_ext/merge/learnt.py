"""A layer's delta while it is learnt: its matrix, or two factors where those are smaller."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clora_ext.lora.deltas import DenseDelta, LowRank
from clora_ext.lora.kinds import Shape
from clora_ext.merge.layer import FactoredDelta, LayerDelta, MatrixDelta
from clora_ext.merge.lowrank import truncated

Addend = Callable[[nn.Module, Tensor], Tensor]
"""What is added to the output of a layer for its input."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """``matrices``: the delta's own [out, in], or its factors [out, rank] and [rank, in]; leaves of a graph."""

    shape: Shape
    matrices: tuple[Tensor, ...]
    bias: Tensor | None = None
    """It stays as it is."""

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        """What the layer adds for input ``x``, with the graph of ``matrices`` as they are now."""
        if len(self.matrices) == 1:
            return DenseDelta(self.matrices[0], self.bias)(layer, x)
        up, down = self.matrices
        return LowRank(down.reshape(-1, *self.shape[1:]), up, 1.0)(layer, x)

    def delta(self) -> LayerDelta:
        """What was learnt."""
        found = [matrix.detach().clone() for matrix in self.matrices]
        if len(found) == 1:
            return MatrixDelta(self.shape, found[0], self.bias)
        up, down = found
        return FactoredDelta(self.shape, up, down)


def learnt_of(delta: LayerDelta, rank: int, device: torch.device) -> Learnt:
    """``delta`` to be learnt, at ``rank`` where its factors have fewer numbers than its matrix then."""
    outputs, inputs = delta.shape[0], torch.Size(delta.shape[1:]).numel()
    if delta.bias is None and rank * (outputs + inputs) < outputs * inputs:
        near = truncated(delta, rank)
        parts: tuple[Tensor, ...] = (near.up, near.down)
    else:
        parts = (delta.matrix,)
    leaves = tuple(part.detach().to(device, torch.float32, copy=True).contiguous().requires_grad_() for part in parts)
    return Learnt(delta.shape, leaves, delta.bias)
