"""The objective of a merge, sample by sample and LoRA by LoRA.

Source: Simsar et al., "LoRACLR: Contrastive Adaptation for Customization of Diffusion Models" (arXiv 2412.09622). A
delta is a matrix [out, in]; each LoRA has its own inputs [sample, in].
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def distance(one: Tensor, other: Tensor, inputs: Tensor) -> Tensor:
    """How far apart two deltas are on some inputs: the root of the mean over samples of the squared difference."""
    total = 0
    for x in inputs:
        difference = one @ x - other @ x
        total = total + (difference * difference).sum()
    return (total / len(inputs)).sqrt()


def objective(delta: Tensor, own: Sequence[Tensor], inputs: Sequence[Tensor], margin: float, ridge: float) -> Tensor:
    """Pull to each LoRA's own delta, push from the nearest other one, keep small; as ``clora_ext.merge.objective``."""
    count = len(own)
    usual = sum((own[i] @ x).square().sum() / len(inputs[i]) for i in range(count) for x in inputs[i]) / count
    size = sum(x.square().sum() / len(inputs[i]) for i in range(count) for x in inputs[i]) / count / delta.shape[1]
    total = 0
    for i in range(count):
        total = total + distance(delta, own[i], inputs[i]) ** 2 / usual / count
        near = []
        for j in range(count):
            if i != j:
                near.append(distance(delta, own[j], inputs[i]) / distance(own[i], own[j], inputs[i]))
        if near and min(near) < margin:
            total = total + (margin - min(near)) ** 2 / count
    return total + ridge * size * delta.square().sum() / usual


def released(weight: Tensor, offset: Tensor, own: Sequence[Tensor], inputs: Sequence[Tensor], margin: float) -> Tensor:
    """Pull and push of the authors' released code, blocks of outputs with their base weights in them."""
    count = len(own)
    total = 0
    for i in range(count):
        found = inputs[i] @ (weight + offset).T
        total = total + (found - inputs[i] @ (weight + own[i]).T).square().sum()
        others = [inputs[j] @ (weight + own[j]).T for j in range(count) if j != i]
        push = margin - min((found - other).square().sum().sqrt() for other in others)
        if push > 0:
            total = total + push**2
    return total / count
