"""One layer as the authors' released code merges it: weights learnt by AdamW from nothing, against the paper's margin.

X_i are samples of LoRA i's own inputs, Y_i = (W + D_i) X_i its outputs without a bias, Y^_i those of W and the merged
delta. Distances are between whole blocks of outputs, row by row:

    mean over i of [ ||Y^_i - Y_i||^2 + max(0, margin - min over j of ||Y^_i - Y_j||)^2 ]
    + mse * (mean square of Y^ - Y) + shrink * ||delta||

as ``update_contrastive`` in weight_fusion.py of enisimsar/LoRACLR computes it, the mean square not being in the paper.
Theirs runs in half precision, where products of large blocks overflow and the first two terms give no gradient; here
all is in single precision, and distances are of differences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clora_ext.merge.layer import LayerDelta


@dataclass(frozen=True, slots=True)
class Official:
    """The released code's numbers."""

    iterations: int = 50
    learning_rate: float = 1e-4
    decay: float = 1e-4
    margin: float = 0.5
    mse: float = 0.1
    shrink: float = 0.001


def contrast(found: Tensor, own: Tensor, margin: float) -> Tensor:
    """Pull and push of outputs [lora, sample, out] to and from ``own``, the mean over the LoRAs."""
    pull = (found - own).square().sum((1, 2))
    if len(own) == 1:
        return pull.mean()
    nearest = _nearest_others(found.detach(), own)
    distance = (found - own[nearest]).square().sum((1, 2)).clamp(min=1e-12).sqrt()
    return (pull + (margin - distance).clamp(min=0.0).square()).mean()


def _nearest_others(found: Tensor, own: Tensor) -> Tensor:
    """Which of the other LoRAs' outputs is nearest to those found, for each LoRA; all [lora, sample, out].

    Squares of differences less that of ``found`` alone, about the mean, so that products of large blocks tell them.
    """
    middle = own.mean(0)
    others, from_middle = ((each - middle).flatten(1) for each in (own, found))
    apart = others.square().sum(1) - 2.0 * from_middle @ others.T
    return apart.fill_diagonal_(torch.inf).argmin(dim=1)


def official(weight: Tensor, deltas: Sequence[LayerDelta], samples: Sequence[Tensor], numbers: Official) -> Tensor:
    """The delta [out, in] of a layer with ``weight`` [out, in] whose LoRAs have seen ``samples`` [sample, in] each.

    Where some have more samples than others, the last ones are left out. The best of all iterations is kept.
    """
    count = min(map(len, samples))
    inputs = torch.stack([each[:count] for each in samples])
    own = torch.stack([x @ (weight + delta.matrix).T for x, delta in zip(inputs, deltas, strict=True)])
    offset = torch.zeros_like(weight, requires_grad=True)
    optimiser = torch.optim.AdamW([offset], lr=numbers.learning_rate, weight_decay=numbers.decay)
    best, least = torch.zeros_like(weight), torch.inf
    for _ in range(numbers.iterations):
        optimiser.zero_grad()
        with torch.enable_grad():
            found = F.linear(inputs, weight + offset)
            loss = contrast(found, own, numbers.margin) + numbers.mse * F.mse_loss(found, own)
            loss = loss + numbers.shrink * torch.linalg.vector_norm(offset)
            loss.backward()
        if loss.item() < least:
            least, best = loss.item(), offset.detach().clone()
        optimiser.step()
    return best
