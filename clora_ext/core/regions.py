"""Who draws which pixel, at every resolution of a UNet: what routed rows are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clora_ext.core.maps import shape
from clora_ext.core.rows import Half, Row
from clora_ext.core.shapes import Weights
from clora_ext.errors import HostError

Blocks = Sequence[tuple[str, int]]
"""Name and number of columns of each LoRA."""
LENGTH = 32
"""Packed groups are as long as a multiple of this: kernels that are chosen by shape are chosen less often."""
FACTORS = (1, 2, 4, 8, 16, 32, 64)
"""Downsampling factors that a UNet's layers may have."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The pixels of some routed rows, gathered by the branch that draws them; shorter groups are padded.

    ``groups[g]`` is the row whose text and LoRAs group g has; ``index`` [group, pixel] are its pixels, counted through
    all the rows. Back in the rows, a pixel is the sum over ``places``, as many as branches share a pixel at most: a
    place in the groups, counted through them, for every pixel of the rows, and the share [row, pixel, 1] that it
    counts. ``base`` [row, pixel, 1] is the share of the base.
    """

    groups: tuple[Row, ...]
    index: Tensor
    places: tuple[tuple[Tensor, Tensor], ...]
    base: Tensor

    def gather(self, pixels: Tensor) -> Tensor:
        """The groups' [group, pixel, width] out of the rows' ``pixels`` [row, pixel, width]."""
        return pixels.flatten(0, 1).index_select(0, self.index.view(-1)).view(*self.index.shape, -1)

    def scatter(self, base: Tensor, found: Tensor) -> Tensor:
        """The rows' [row, pixel, width]: what the groups have ``found`` over the ``base``, summed in a fixed order."""
        whole, flat = base * self.base, found.flatten(0, 1)
        for place, share in self.places:
            whole = torch.addcmul(whole, flat.index_select(0, place).view_as(whole), share)
        return whole


class Regions:
    """Shares of every branch per image, for latents of ``latent`` (height, width).

    ``weights[image]`` [branch, height, width] sums to 1 over branches; ``worn`` has the LoRAs of every branch, of which
    unconditional rows wear the share ``uncond``. Results are kept: make a new object for new masks.
    """

    def __init__(
        self,
        weights: Mapping[int, Weights],
        worn: Mapping[int, Sequence[str]],
        latent: tuple[int, int],
        *,
        uncond: float = 1.0,
    ) -> None:
        self.weights = weights
        self.worn = worn
        self.latent = latent
        self.uncond = uncond
        self._found: dict[Any, Any] = {}

    def grid(self, tokens: int) -> tuple[int, int]:
        """The (height, width) of a layer that has ``tokens`` pixels.

        Raises ``HostError`` when no level of the UNet has: something else joins or splits its pixels.
        """
        return self._once(("grid", tokens), lambda: self._grid(tokens))

    def _grid(self, tokens: int) -> tuple[int, int]:
        for factor in FACTORS:
            height, width = shape(self.latent, factor)
            if height * width == tokens:
                return height, width
        msg = f"A layer has {tokens} pixels, as no level of this picture has; turn token merging and tiling off."
        raise HostError(msg)

    def at(self, image: int, size: tuple[int, int]) -> Tensor:
        """Shares at (height, width) ``size``: enlarged by nearest, made smaller by the mean of the area."""
        weights = self.weights[image]
        smaller = size[0] < weights.shape[-2] or size[1] < weights.shape[-1]
        mode = "area" if smaller else "nearest"
        return self._once((image, size), lambda: F.interpolate(weights[None], size, mode=mode)[0])

    def shares(self, rows: Sequence[Row], size: tuple[int, int] | None, blocks: Blocks, like: Tensor) -> Tensor:
        """How much each LoRA counts in every pixel of ``rows``: [row, pixel, column], or [row, column] without pixels.

        ``blocks`` says for each LoRA how many columns it has. A LoRA counts by the sum over the branches that wear it:
        1 everywhere for one that all wear. Without a ``size`` the layer has no pixels (the time embedding's), and each
        LoRA counts by its share of the picture: [row, column].
        """
        key = (tuple(rows), size, tuple(blocks), like.dtype)
        return self._once(key, lambda: self._shares(rows, size, blocks).to(like))

    def _shares(self, rows: Sequence[Row], size: tuple[int, int] | None, blocks: Blocks) -> Tensor:
        found: list[Tensor] = []
        for row in rows:
            weights = (self.weights[row.image] if size is None else self.at(row.image, size)).flatten(1)
            wears = [
                [float(name in self.worn[branch]) for name, columns in blocks for _ in range(columns)]
                for branch in range(len(weights))
            ]
            worn = self.uncond if row.half is Half.UNCOND else 1.0
            found.append(worn * weights.T @ weights.new_tensor(wears))  # pixel, column
        shares = torch.stack(found)
        return shares.mean(dim=1) if size is None else shares

    def packed(self, rows: Sequence[Row], size: tuple[int, int], like: Tensor) -> Packed | None:
        """The pixels of ``rows`` that other branches than the base draw; None where there are none."""
        return self._once(("packed", tuple(rows), size, like.dtype), lambda: self._packed(rows, size, like))

    def _packed(self, rows: Sequence[Row], size: tuple[int, int], like: Tensor) -> Packed | None:
        shares = torch.stack([self.at(row.image, size).flatten(1) for row in rows])  # row, branch, pixel
        taken = shares[:, 1:] > 0.0
        sharing, *counts = torch.cat([taken.sum(dim=1).amax().view(1), taken.sum(dim=-1).view(-1)]).tolist()
        if not sharing:
            return None
        branches, pixels = taken.shape[1:]
        groups = [(r, b) for b in range(branches) for r in range(len(rows)) if counts[r * branches + b]]
        longest = min(-(-max(counts) // LENGTH) * LENGTH, pixels)
        starts = {group: number * longest for number, group in enumerate(groups)}
        start = torch.tensor(
            [[[starts.get((row, branch), 0)] for branch in range(branches)] for row in range(len(rows))],
            device=taken.device,
        )
        at, of = (list(part) for part in zip(*groups, strict=True))
        chosen = taken[at, of].to(torch.uint8).sort(dim=-1, descending=True, stable=True).indices[:, :longest]
        index = chosen + pixels * torch.tensor(at, device=chosen.device)[:, None]
        slots = (start + taken.cumsum(dim=-1) - 1) * taken  # where a pixel stands in the groups
        order = taken.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :sharing]
        slots, counted = slots.gather(1, order), (shares[:, 1:] * taken).gather(1, order)
        return Packed(
            groups=tuple(Row(rows[row].image, branch + 1, rows[row].half) for row, branch in groups),
            index=index.to(like.device),
            places=tuple(
                (slots[:, n].flatten().to(like.device), counted[:, n, :, None].to(like)) for n in range(sharing)
            ),
            base=shares[:, 0, :, None].to(like),
        )

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]
