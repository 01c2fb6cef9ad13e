"""From recorded token maps of every branch to the maps that the loss compares."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from clora_ext.core.concepts import Plan
from clora_ext.core.shapes import GroupIds, Maps


def grouped(recorded: Mapping[int, Tensor], plan: Plan, *, each: bool) -> tuple[Maps, GroupIds]:
    """The maps of the recorded branches and the concept of each.

    ``recorded[b]`` holds branch b's maps in the order of ``plan.columns(b)``. With ``each`` every token is a map of
    its own, as the authors' code has it; else a word's tokens are averaged, so that a long word weighs no more than
    a short one.
    """
    maps: list[Tensor] = []
    groups: list[int] = []
    for branch, found in sorted(recorded.items()):
        start = 0
        for concept, columns in plan.words(branch):
            tokens = found[start : start + len(columns)]
            start += len(columns)
            pieces = list(tokens) if each else [tokens.mean(0)]
            maps.extend(pieces)
            groups.extend([concept] * len(pieces))
    return torch.stack(maps), torch.tensor(groups, device=maps[0].device)


def smoothed(maps: Maps, sigma: float) -> Maps:
    """3x3 Gaussian blur with reflected edges, as Attend-and-Excite's; ``sigma`` in map pixels, 0 for none."""
    if sigma == 0.0:
        return maps
    offsets = torch.arange(-1, 2, device=maps.device, dtype=maps.dtype)
    line = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = torch.outer(line, line)
    kernel = (kernel / kernel.sum())[None, None]
    return F.conv2d(F.pad(maps[:, None], (1, 1, 1, 1), mode="reflect"), kernel)[:, 0]


def level(latent: tuple[int, int], *, quarter: bool) -> int:
    """The downsampling factor whose cross-attention maps are used, for a latent of (height, width).

    The coarsest level (8, 4, 2, 1) whose short side is at least 12. With ``quarter`` factor 4, as the authors' code
    has it, unless its short side would be under 8.
    """
    if quarter and min(shape(latent, 4)) >= 8:
        return 4
    return next((factor for factor in (8, 4, 2) if min(shape(latent, factor)) >= 12), 1)


def shape(latent: tuple[int, int], factor: int) -> tuple[int, int]:
    """(height, width) of the UNet's grid at ``factor``: strided convolutions round up at every halving."""
    height, width = latent
    while factor > 1:
        height, width, factor = -(-height // 2), -(-width // 2), factor // 2
    return height, width
