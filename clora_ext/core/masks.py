"""From cross-attention maps to who draws which pixel."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clora_ext.core.loss import normalise
from clora_ext.core.shapes import Maps, Masks, Weights


def region(maps: Maps, threshold: float) -> Tensor:
    """A concept's region [height, width]: each token's map above ``threshold`` of its own peak, united over tokens."""
    return (maps > threshold * maps.amax(dim=(-2, -1), keepdim=True)).any(dim=0)


def _dilate(masks: Masks) -> Masks:
    return F.max_pool2d(masks[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0


def _erode(masks: Masks) -> Masks:
    padded = F.pad((~masks)[:, None].float(), (1, 1, 1, 1))  # outside the picture nothing erodes
    return F.max_pool2d(padded, 3, stride=1)[:, 0] == 0


MORPHOLOGY: dict[str, Callable[[Masks], Masks]] = {
    "dilate": _dilate,
    "erode": _erode,
    "open": lambda masks: _dilate(_erode(masks)),
    "close": lambda masks: _erode(_dilate(masks)),
}
"""3x3 operations, in the order in which they are applied."""


def morphed(masks: Masks, operations: Sequence[str]) -> Masks:
    """Apply the named 3x3 operations in the fixed order of ``MORPHOLOGY``."""
    for name, operation in MORPHOLOGY.items():
        if name in operations:
            masks = operation(masks)
    return masks


def shares(masks: Masks, strengths: Maps, overlap: str) -> Weights:
    """Weights of the base (row 0) and of each concept's branch; the base draws what no concept claims.

    ``strengths`` [concept, height, width] decide where regions overlap: ``average`` shares equally, ``strongest``
    gives the pixel to the concept with the strongest normalised map, ``soft`` shares in proportion to it.
    """
    claims = masks.to(strengths.dtype)
    if overlap != "average":
        weights = normalise(strengths).to(strengths.dtype) * claims + 1e-6 * claims
        claims = claims * (weights == weights.amax(dim=0, keepdim=True)) if overlap == "strongest" else weights
    background = (~masks.any(dim=0)).to(claims.dtype)[None]
    claims = torch.cat([background, claims])
    return claims / claims.sum(dim=0, keepdim=True)


def changed(before: Weights, now: Weights) -> float:
    """The share of the picture that passed from one branch to another: 0 for equal weights, at most 1."""
    return float((now - before).abs().sum(dim=0).mean()) / 2.0


def resized(weights: Weights, size: tuple[int, int]) -> Tensor:
    """Weights at the latent's (height, width), by the nearest pixel; the sum over branches stays 1."""
    return F.interpolate(weights[None], size, mode="nearest")[0]
