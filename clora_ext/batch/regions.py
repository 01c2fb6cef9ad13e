"""Who draws which pixel, at every resolution of a UNet: what routed rows are made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clora_ext.batch.packing import PixelGroups, pack
from clora_ext.batch.rows import BranchLoras, Row
from clora_ext.core.maps import Grid, grid_at
from clora_ext.core.shapes import PixelMasks, RegionMasks, Shares
from clora_ext.errors import HostError

Blocks = Sequence[tuple[str, int]]
"""Name and number of columns of each LoRA."""
FACTORS = (1, 2, 4, 8, 16, 32, 64)
"""Downsampling factors that a UNet's layers may have."""


class RegionPyramid:
    """The region masks of every image for a latent's grid; ``masks[image]`` [branch, height, width].

    What is asked for is kept. New masks go into the same object (``renew``): what layers have bound stays right.
    """

    def __init__(self, masks: Mapping[int, RegionMasks], loras: BranchLoras, latent: Grid) -> None:
        self.masks = masks
        self.loras = loras
        self.latent = latent
        self.version = 0
        """Counts the masks that there were."""
        self._found: dict[Any, Any] = {}
        self._shares: dict[tuple[tuple[Row, ...], Grid | None, tuple[tuple[str, int], ...], torch.dtype], Shares] = {}

    def renew(self, masks: Mapping[int, RegionMasks]) -> None:
        """Other masks of the same images. Shares that were given away change in place, all else is found anew."""
        self.masks = masks
        self.version += 1
        self._found.clear()
        for (rows, size, blocks, _), shares in self._shares.items():
            shares.copy_(self._lora_shares(rows, size, blocks))

    def grid(self, pixels: int) -> Grid:
        """The (height, width) of a layer that has ``pixels``.

        Raises ``HostError`` when no level of the UNet has: something else joins or splits its pixels.
        """
        found: Grid = self._once(("grid", pixels), lambda: self._grid(pixels))
        return found

    def _grid(self, pixels: int) -> Grid:
        for factor in FACTORS:
            height, width = grid_at(self.latent, factor)
            if height * width == pixels:
                return height, width
        msg = f"A layer has {pixels} pixels, as no level of this picture has; turn token merging and tiling off."
        raise HostError(msg)

    def grid_of(self, output: Tensor) -> Grid | None:
        """The (height, width) of a layer's output; None for one without pixels."""
        if output.dim() == 4:
            return output.shape[-2], output.shape[-1]
        return self.grid(output.shape[1]) if output.dim() == 3 else None

    def at(self, image: int, size: Grid) -> RegionMasks:
        """The image's masks on a grid: enlarged by the nearest cell, made smaller by the mean of the area."""
        masks = self.masks[image]
        height, width = masks.shape[-2:]
        smaller = size[0] < height or size[1] < width
        mode = "area" if smaller else "nearest"
        found: Tensor = self._once((image, size), lambda: F.interpolate(masks[None], size, mode=mode)[0])
        return found

    def lora_shares(self, rows: Sequence[Row], size: Grid | None, blocks: Blocks, like: Tensor) -> Shares:
        """How much each LoRA counts in every pixel of ``rows``: [row, pixel, column], or [row, column] without pixels.

        ``blocks`` says for each LoRA how many columns it has. In a routed row a LoRA counts by the sum over the
        branches in which it is active: 1 everywhere for one that all have. Without a ``size`` the layer has no pixels
        (the time embedding's), and each LoRA counts by its share of the picture. In any other row it counts alike in
        all pixels.
        """
        key = (tuple(rows), size, tuple(blocks), like.dtype)
        if key not in self._shares:
            self._shares[key] = self._lora_shares(rows, size, blocks).to(like)
        return self._shares[key]

    def _lora_shares(self, rows: Sequence[Row], size: Grid | None, blocks: Blocks) -> Shares:
        shares = torch.stack([self._row_shares(row, size, blocks) for row in rows])  # row, pixel, column
        return shares.mean(dim=1) if size is None else shares

    def _row_shares(self, row: Row, size: Grid | None, blocks: Blocks) -> Tensor:
        masks = self.masks[row.image] if size is None else self.at(row.image, size)
        pixels = masks.flatten(1).T  # pixel, branch
        if not row.routed:
            return masks.new_tensor(by_column(self.loras.of(row), blocks)).expand(len(pixels), -1)
        columns = [self._columns_of(branch, blocks) for branch in range(len(masks))]
        return self.loras.share_in(row.half) * pixels @ masks.new_tensor(columns)

    def _columns_of(self, branch: int, blocks: Blocks) -> list[float]:
        """How much counts of every column: all of a LoRA that is active in ``branch``, nothing of the others."""
        return by_column({name: self.loras.share_of(name, branch) for name, _ in blocks}, blocks)

    def pixel_groups(
        self, rows: Sequence[Row], size: Grid, like: Tensor, *, with_base: bool = False
    ) -> PixelGroups | None:
        """The pixels of ``rows`` by who draws them; None where that is the base alone. See ``batch.packing``."""
        key = ("groups", tuple(rows), size, like.dtype, with_base)
        found: PixelGroups | None = self._once(
            key, lambda: pack(rows, self._row_masks(rows, size), like, with_base=with_base)
        )
        return found

    def _row_masks(self, rows: Sequence[Row], size: Grid) -> PixelMasks:
        return torch.stack([self.at(row.image, size).flatten(1) for row in rows])  # row, branch, pixel

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]


def by_column(shares: Mapping[str, float], blocks: Blocks) -> list[float]:
    """How much counts of every column of ``blocks``, from how much counts of each LoRA."""
    found: list[float] = []
    for name, columns in blocks:
        found.extend([shares.get(name, 0.0)] * columns)
    return found
