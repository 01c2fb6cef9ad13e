"""Random weights for shapes, from a seed."""

import math

import torch
from torch import Tensor

from tests.models.layout import Shapes

Weights = dict[str, Tensor]


def draw(shapes: Shapes, seed: int) -> Weights:
    """Normal numbers (float32) in the order of `shapes`; none is zero where training would start from zero.

    Layers keep the variance of what goes in. Cross-attention is three times as sharp, so that its maps differ.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.empty(shape).normal_(generator=generator) for name, shape in shapes.items()}
    return {name: _scaled(name, numbers) for name, numbers in drawn.items()}


def _scaled(name: str, numbers: Tensor) -> Tensor:
    if name.endswith("bias"):  # a mean that is not zero: WebUI's emphasis divides by that of the text
        return 0.05 + 0.05 * numbers
    if numbers.dim() == 1:
        return 1 + 0.1 * numbers
    if "token_embedding" in name:
        return numbers
    sharpness = 3 if name.endswith(("attn2.to_q.weight", "attn2.to_k.weight")) else 1
    return numbers * sharpness / math.sqrt(math.prod(numbers.shape[1:]))
