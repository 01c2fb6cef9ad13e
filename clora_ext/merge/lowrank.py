"""A delta as the best factors of a rank (Eckart and Young): its largest singular values."""

import torch
from torch import Tensor

from clora_ext.merge.layer import FactoredDelta, LayerDelta


def singular(delta: LayerDelta) -> tuple[Tensor, Tensor, Tensor]:
    """U [out, n], singular values [n] from large to small, V [n, in]; of factors without making the matrix."""
    if not isinstance(delta, FactoredDelta):
        u, values, v = torch.linalg.svd(delta.matrix, full_matrices=False)
        return u, values, v
    left, up = torch.linalg.qr(delta.up)
    right, down = torch.linalg.qr(delta.down.T)
    u, values, v = torch.linalg.svd(up @ down.T, full_matrices=False)
    return left @ u, values, v @ right.T


def truncated(delta: LayerDelta, rank: int) -> FactoredDelta:
    """The nearest delta of at most ``rank``, its factors of equal size; a bias is left out."""
    u, values, v = singular(delta)
    root = values[:rank].sqrt()
    return FactoredDelta(delta.shape, u[:, :rank] * root, root[:, None] * v[:rank])


def rank_of_energy(values: Tensor, energy: float) -> int:
    """How many of the singular ``values`` hold that share of the sum of their squares; 1 at least."""
    squares = values.double().square().cumsum(0)
    if not len(values) or not squares[-1]:
        return 1
    return min(int((squares < energy * squares[-1]).sum()) + 1, len(values))


def relative_error(found: Tensor, delta: LayerDelta) -> float:
    """The Frobenius norm of what ``found`` [out, in] misses, against that of ``delta``; 0 where there is nothing."""
    whole = delta.matrix
    size = float(whole.norm())
    return float((found - whole).norm()) / size if size else 0.0
