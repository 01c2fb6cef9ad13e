"""From cross-attention maps to who draws which pixel, and from many branches' predictions to one."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clora_ext.core.loss import normalise
from clora_ext.core.shapes import Maps, Masks, Prediction, Predictions, RegionMasks


def concept_mask(maps: Maps, threshold: float) -> Tensor:
    """A concept's mask [height, width]: each token's map above ``threshold`` of its own peak, united over tokens."""
    peaks = maps.amax(dim=(-2, -1), keepdim=True)
    return (maps > threshold * peaks).any(dim=0)


def _dilate(masks: Masks) -> Masks:
    grown = F.max_pool2d(masks[:, None].float(), 3, stride=1, padding=1)
    return grown[:, 0] > 0


def _erode(masks: Masks) -> Masks:
    outside = (~masks)[:, None].float()
    padded = F.pad(outside, (1, 1, 1, 1))  # outside the picture nothing erodes
    return F.max_pool2d(padded, 3, stride=1)[:, 0] == 0


OPERATIONS: Mapping[str, Callable[[Masks], Masks]] = {
    "dilate": _dilate,
    "erode": _erode,
    "open": lambda masks: _dilate(_erode(masks)),
    "close": lambda masks: _erode(_dilate(masks)),
}
"""3x3 operations, in the order in which they are applied."""


def apply_morphology(masks: Masks, operations: Sequence[str]) -> Masks:
    """The masks after the named 3x3 operations, in the fixed order of ``OPERATIONS``."""
    for name, operation in OPERATIONS.items():
        if name in operations:
            masks = operation(masks)
    return masks


def on_grid(picture: Maps, size: tuple[int, int]) -> Tensor:
    """Masks of any size on a grid (height, width): the mean of what falls into a cell, or the nearest where cells are
    smaller than what there is.
    """
    height, width = picture.shape[-2:]
    smaller = size[0] < height or size[1] < width
    return F.interpolate(picture[None], size, mode="area" if smaller else "nearest")[0]


def within_one(shares: Maps) -> Maps:
    """Shares of pixels, made smaller alike where they add up to more than 1: overlapping whites share equally."""
    return shares / shares.sum(dim=0, keepdim=True).clamp_min(1.0)


def with_fixed(regions: RegionMasks, fixed: Maps, concepts: Sequence[int]) -> RegionMasks:
    """``regions`` in which ``concepts`` have just the shares ``fixed``; all others share what these leave."""
    taken = within_one(fixed)
    found = regions * (1.0 - taken.sum(dim=0, keepdim=True)).clamp_min(0.0)
    found[[concept + 1 for concept in concepts]] = taken
    return found


def region_masks(masks: Masks, strengths: Maps, overlap: str) -> RegionMasks:
    """How much the base (row 0) and each concept's branch count at each pixel; the base draws what no concept claims.

    ``strengths`` [concept, height, width] decide where masks overlap: ``average`` shares equally, ``strongest``
    gives the pixel to the concept with the strongest normalised map, ``soft`` shares in proportion to it.
    """
    claims = masks.to(strengths.dtype)
    if overlap != "average":
        weights = normalise(strengths).to(strengths.dtype) * claims + 1e-6 * claims
        strongest = weights == weights.amax(dim=0, keepdim=True)
        claims = claims * strongest if overlap == "strongest" else weights
    background = (~masks.any(dim=0)).to(claims.dtype)
    claims = torch.cat([background[None], claims])
    return claims / claims.sum(dim=0, keepdim=True)


LEAST_OWNED, AHEAD = 0.25, 2.0
"""How much of a part of the picture its owner has, and how many times as much as all other concepts together."""


def owner(regions: RegionMasks, part: Tensor) -> int | None:
    """The concept that draws ``part`` [height, width], from 0 to 1, of the picture; None for the base, or in doubt."""
    covered = on_grid(part[None], (regions.shape[-2], regions.shape[-1])).to(regions)
    found = (regions[1:] * covered).sum(dim=(1, 2)) / covered.sum().clamp_min(1e-6)
    best = int(found.argmax())
    others = found.sum() - found[best]
    return best if found[best] >= max(LEAST_OWNED, AHEAD * float(others)) else None


def changed_share(before: RegionMasks, now: RegionMasks) -> float:
    """How much of the picture passed from one branch to another: 0 for equal region masks, at most 1."""
    moved = (now - before).abs().sum(dim=0)
    return float(moved.mean()) / 2.0


def resized(regions: RegionMasks, size: tuple[int, int]) -> Tensor:
    """Region masks at the latent's (height, width), by the nearest pixel; the sum over branches stays 1."""
    return F.interpolate(regions[None], size, mode="nearest")[0]


def uniform_region_masks(branches: int, like: Tensor) -> RegionMasks:
    """The same for every branch, on the grid of ``like`` [..., height, width]: what there is without masks."""
    height, width = like.shape[-2:]
    return torch.full((branches, height, width), 1.0 / branches, dtype=like.dtype, device=like.device)


def fuse(predictions: Predictions, regions: RegionMasks) -> Tensor:
    """One prediction [channel, y, x] = sum over branches of region mask * prediction (CLoRA, section 3.4).

    Any prediction that is affine in the noise (noise, or the denoised latent) may be fused: the masks sum to 1.
    """
    weighted = predictions * regions[:, None].to(predictions.dtype)
    return weighted.sum(dim=0)


def fuse_rows(predictions: Sequence[Prediction], regions: RegionMasks | None) -> Tensor:
    """One prediction of one image from the rows that draw it: a single row's own, which may be routed; else one for
    each branch, fused, in equal parts where there are no region masks.

    ``regions`` may be on a coarser grid than the predictions.
    """
    if len(predictions) == 1:
        return predictions[0]
    rows = torch.stack(list(predictions))
    if regions is None:
        return fuse(rows, uniform_region_masks(len(rows), rows))
    height, width = rows.shape[-2:]
    return fuse(rows, resized(regions, (height, width)))
