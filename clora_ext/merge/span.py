"""The coordinates in which a layer is merged: all of its inputs, or the directions that its LoRAs read.

LoRA i adds B_i A_i x. In the span of the LoRAs the merged delta is V Q x, where Q has orthonormal rows that span those
of all A_i, and only z = Q x has to be known of the inputs. On the other side no solution leaves the columns of all
B_i, whatever is known of the inputs: so U V, with U spanning them, is all there is to find, and its rank is at most
the LoRAs' ranks together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.lora.kinds import Shape
from clora_ext.merge.layer import FactoredDelta, LayerDelta, MatrixDelta


@dataclass(frozen=True, slots=True)
class LoraSpan:
    """Orthonormal ``rows`` [q, in] of the inputs and ``columns`` [out, p] of the outputs; None where all count."""

    rows: Tensor | None
    columns: Tensor | None

    def to(self, device: torch.device) -> "LoraSpan":
        """The same, elsewhere."""
        rows, columns = (None if side is None else side.to(device) for side in (self.rows, self.columns))
        return LoraSpan(rows, columns)

    def seen(self, samples: Tensor) -> Tensor:
        """z [sample, q] of inputs [sample, in]."""
        return samples if self.rows is None else samples @ self.rows.T

    def coordinates(self, delta: LayerDelta) -> Tensor:
        """A LoRA's delta as [p, q]."""
        if isinstance(delta, FactoredDelta):
            return self._from_left(delta.up) @ self._from_right(delta.down)
        return self._from_left(self._from_right(delta.matrix))

    def _from_left(self, up: Tensor) -> Tensor:
        return up if self.columns is None else self.columns.T @ up

    def _from_right(self, down: Tensor) -> Tensor:
        return down if self.rows is None else down @ self.rows.T

    def delta(self, found: Tensor, shape: Shape) -> LayerDelta:
        """The delta of coordinates [p, q] for a weight of ``shape``: two factors wherever one side is a span."""
        if self.columns is not None:
            return FactoredDelta(shape, self.columns, found if self.rows is None else found @ self.rows)
        return MatrixDelta(shape, found) if self.rows is None else FactoredDelta(shape, found, self.rows)


def span_of(deltas: Sequence[LayerDelta], *, rows: bool = True) -> LoraSpan:
    """What the LoRAs of a layer read and write; with ``rows`` off, all inputs count.

    A side counts whole where a LoRA has a whole difference there, or where the ranks fill it.
    """
    factors = [delta for delta in deltas if isinstance(delta, FactoredDelta)]
    if len(factors) < len(deltas):
        return LoraSpan(None, None)
    downs = torch.cat([delta.down for delta in factors])
    ups = torch.cat([delta.up for delta in factors], dim=1)
    return LoraSpan(_orthonormal(downs.T, transposed=True) if rows else None, _orthonormal(ups))


def _orthonormal(vectors: Tensor, *, transposed: bool = False) -> Tensor | None:
    """A basis of ``vectors`` [width, number], which are columns; as rows if ``transposed``. None: they fill it."""
    width, number = vectors.shape
    if number >= width:
        return None
    found: Tensor = torch.linalg.qr(vectors.double()).Q.to(vectors)
    return found.T.contiguous() if transposed else found
