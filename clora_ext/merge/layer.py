"""What one LoRA adds to one layer's weight, as a matrix [out, in] or as two factors of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from clora_ext.lora.kinds import Shape


@dataclass(frozen=True, slots=True)
class FactoredDelta:
    """``up`` [out, rank] times ``down`` [rank, in], float32; scale and ratio are part of ``up``.

    A convolution's ``in`` is [channel * y * x of its kernel].
    """

    shape: Shape
    """That of the layer's weight."""
    up: Tensor
    down: Tensor
    bias: None = None

    @property
    def matrix(self) -> Tensor:
        """[out, in]."""
        return self.up @ self.down

    @property
    def rank(self) -> int:
        """Columns of ``up``."""
        return self.up.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of both factors."""
        return self.up.nbytes + self.down.nbytes

    def contiguous(self) -> "FactoredDelta":
        """The same with its numbers in order: products of others differ in the last bit."""
        return replace(self, up=self.up.contiguous(), down=self.down.contiguous())

    def scaled(self, ratio: float) -> "FactoredDelta":
        """``ratio`` times as much."""
        return replace(self, up=self.up * ratio)


@dataclass(frozen=True, slots=True)
class MatrixDelta:
    """A whole ``matrix`` [out, in], float32, of any kind of LoRA, and the change of the layer's bias where it has one.

    A norm's weight is a matrix of one column.
    """

    shape: Shape
    """That of the layer's weight."""
    matrix: Tensor
    bias: Tensor | None = None

    @property
    def rank(self) -> int:
        """The largest that a matrix of its size can have."""
        return min(self.matrix.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix and the bias."""
        return self.matrix.nbytes + (0 if self.bias is None else self.bias.nbytes)

    def contiguous(self) -> "MatrixDelta":
        """The same with its numbers in order."""
        return replace(self, matrix=self.matrix.contiguous())

    def scaled(self, ratio: float) -> "MatrixDelta":
        """``ratio`` times as much."""
        return replace(self, matrix=self.matrix * ratio, bias=None if self.bias is None else self.bias * ratio)


LayerDelta: TypeAlias = FactoredDelta | MatrixDelta
"""Either of them."""


def are_factored(deltas: Sequence[LayerDelta]) -> bool:
    """Whether all of them are factors, which together are no wider than the matrix itself."""
    ranks = sum(delta.rank for delta in deltas)
    return all(isinstance(delta, FactoredDelta) for delta in deltas) and ranks <= min(_size(deltas[0].shape))


def _size(shape: Shape) -> tuple[int, int]:
    """Outputs and inputs of a weight as a matrix."""
    return shape[0], torch.Size(shape[1:]).numel()
