"""Grids of a UNet, and cross-attention maps on them."""

from collections.abc import Collection

import torch
from torch.nn import functional as F

from clora_ext.core.shapes import Maps

SHORT_SIDE = 12
"""Cells that the short side of a map must have to tell subjects apart."""
QUARTER_SIDE = 8
"""The same for the level that the authors' code fixes."""

Grid = tuple[int, int]
"""(height, width) in cells."""


def smoothed(maps: Maps, sigma: float) -> Maps:
    """3x3 Gaussian blur with reflected edges, as Attend-and-Excite's; ``sigma`` in map cells, 0 for none."""
    if sigma == 0.0:
        return maps
    offsets = torch.arange(-1, 2, device=maps.device, dtype=maps.dtype)
    line = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = torch.outer(line, line)
    kernel = kernel / kernel.sum()
    padded = F.pad(maps[:, None], (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, kernel[None, None])[:, 0]


def choose_level(latent: Grid, factors: Collection[int], *, quarter: bool) -> int:
    """The downsampling factor, of the ``factors`` that the UNet has, whose maps are used for a latent's grid.

    The coarsest whose short side has at least 12 cells, else the finest. With ``quarter`` factor 4, as the authors'
    code has it, unless its short side would be under 8.
    """
    if quarter and 4 in factors and min(grid_at(latent, 4)) >= QUARTER_SIDE:
        return 4
    coarse_first = sorted(factors, reverse=True)
    for factor in coarse_first:
        if min(grid_at(latent, factor)) >= SHORT_SIDE:
            return factor
    return coarse_first[-1]


def grid_at(latent: Grid, factor: int) -> Grid:
    """The UNet's grid at ``factor``: strided convolutions round up at every halving."""
    height, width = latent
    while factor > 1:
        height, width = -(-height // 2), -(-width // 2)
        factor //= 2
    return height, width
