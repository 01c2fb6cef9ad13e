"""The pixels of routed rows, gathered by the branch that draws them, and put back.

```
two rows of four pixels, branches a and b, . the base's     r0: a a b .     r1: . b b b
one group for each branch of a row, padded to the longest   (r0, a): 0 1 -   (r0, b): 2 - -   (r1, b): 5 6 7
the layer runs once on the groups, as a batch of three; each of its pixels then goes back to where it was

with the base               its pixels are cut into groups as long as the longest other: (r0, .): 3 - -   (r1, .): 4 - -
```
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clora_ext.batch.rows import Row
from clora_ext.core.shapes import Drawn, GroupPixels, LayerPixels, PackedIndex, PixelMasks

LENGTH = 32
"""Groups are as long as a multiple of this: kernels that are chosen by shape are chosen less often."""


@dataclass(frozen=True, slots=True)
class PixelGroups:
    """Which pixels of some routed rows each branch draws; shorter groups are padded.

    ``groups[g]`` is the row whose text and LoRAs group g has; ``index`` [group, pixel] are its pixels, counted through
    all the rows. ``places`` has, as often as branches share a pixel at most, for every pixel of the rows a slot in the
    groups [row * pixel] and how much it counts [row, pixel, 1]. ``base`` [row, pixel, 1] is how much the base counts
    where it is no branch like the others; else None.
    """

    groups: tuple[Row, ...]
    index: PackedIndex
    places: tuple[tuple[Tensor, Tensor], ...]
    base: Tensor | None

    def gather(self, pixels: LayerPixels) -> GroupPixels:
        """The groups' [group, pixel, width] out of the rows' ``pixels`` [row, pixel, width]."""
        chosen = pixels.flatten(0, 1).index_select(0, self.index.view(-1))
        return chosen.view(*self.index.shape, -1)

    def scatter(self, base: LayerPixels, found: GroupPixels) -> LayerPixels:
        """The rows' [row, pixel, width]: what the groups have ``found`` over the ``base``, summed in a fixed order."""
        whole = base if self.base is None else base * self.base
        return self._add(whole, found.flatten(0, 1), self.places)

    def collect(self, found: GroupPixels) -> LayerPixels:
        """The rows' [row, pixel, width] from what the groups of all branches, the base's too, have ``found``."""
        (slots, share), *more = self.places
        flat = found.flatten(0, 1)  # group * pixel, width
        first = flat.index_select(0, slots).view(*share.shape[:2], -1)
        if not more:
            return first  # each pixel is one branch's alone
        return self._add(first * share.to(first.dtype), flat, more)

    @staticmethod
    def _add(whole: LayerPixels, flat: Tensor, places: Sequence[tuple[Tensor, Tensor]]) -> LayerPixels:
        """``whole`` with what is found at ``places`` in ``flat`` [group * pixel, width]."""
        for slots, share in places:
            drawn = flat.index_select(0, slots).view_as(whole)
            whole = torch.addcmul(whole, drawn, share.to(whole.dtype))
        return whole


def pack(rows: Sequence[Row], masks: PixelMasks, like: Tensor, *, with_base: bool = False) -> PixelGroups | None:
    """The groups of ``rows`` by their region masks [row, branch, pixel], base first; None where the base draws all.

    ``like`` has the device and dtype of what is gathered. ``with_base``: the base is a branch like the others.
    """
    first = 0 if with_base else 1
    drawn = masks[:, first:] > 0.0  # row, branch from the first, pixel
    counts, sharing = _count(drawn)
    longest = max(max(row[1 - first :]) for row in counts)
    if not longest:
        return None
    length = _padded_length(longest, drawn.shape[-1])
    owners = _owners(counts, length)
    slots, shares = _slots(drawn, owners, length, masks[:, first:], sharing)
    places = [
        (slots[:, number].flatten().to(like.device), shares[:, number, :, None].to(like)) for number in range(sharing)
    ]
    return PixelGroups(
        groups=tuple(Row(rows[row].image, branch + first, rows[row].half) for row, branch in owners),
        index=_index(drawn, owners, length).to(like.device),
        places=tuple(places),
        base=None if with_base else masks[:, 0, :, None].to(like),
    )


def _count(drawn: Drawn) -> tuple[list[list[int]], int]:
    """Pixels of each row and branch, and how many branches share a pixel at most: one wait for the device."""
    rows, branches, _ = drawn.shape
    most = drawn.sum(dim=1).amax()
    each = drawn.sum(dim=-1)
    sharing, *counts = torch.cat([most.view(1), each.view(-1)]).tolist()
    return [counts[row * branches : (row + 1) * branches] for row in range(rows)], sharing


def _owners(counts: Sequence[Sequence[int]], length: int) -> list[tuple[int, int]]:
    """(row, branch from 0) of every group: as many as their pixels fill, a LoRA's together."""
    owners: list[tuple[int, int]] = []
    for branch in range(len(counts[0])):
        for row, count in enumerate(counts):
            owners.extend([(row, branch)] * -(-count[branch] // length))
    return owners


def _padded_length(longest: int, pixels: int) -> int:
    whole = -(-longest // LENGTH) * LENGTH
    return min(whole, pixels)


def _index(drawn: Drawn, owners: Sequence[tuple[int, int]], length: int) -> PackedIndex:
    """The pixels of every group, counted through all rows: [group, length]. Padding are pixels that others draw."""
    own_first = drawn.to(torch.uint8).sort(dim=-1, descending=True, stable=True).indices  # row, branch, pixel
    pixels = drawn.shape[-1]
    cuts = -(-pixels // length)
    cut: Tensor = F.pad(own_first, (0, cuts * length - pixels)).unflatten(-1, (cuts, length))
    number = [owners[:place].count(owner) for place, owner in enumerate(owners)]  # which cut of its owner's it is
    rows, branches = zip(*owners, strict=True)
    first = pixels * torch.tensor(rows, device=drawn.device)
    return cut[list(rows), list(branches), number] + first[:, None]


def _slots(
    drawn: Drawn, owners: Sequence[tuple[int, int]], length: int, masks: PixelMasks, sharing: int
) -> tuple[Tensor, Tensor]:
    """Where every pixel stands in the groups, and how much it counts there: both [row, sharing, pixel].

    A pixel that fewer branches share than ``sharing`` stands at slot 0 with share 0 for the rest.
    """
    rows, branches, _ = drawn.shape
    starts = torch.zeros(rows, branches, 1, dtype=torch.int64)
    for row, branch in dict.fromkeys(owners):
        starts[row, branch] = owners.index((row, branch)) * length
    slots = (starts.to(drawn.device) + drawn.cumsum(dim=-1) - 1) * drawn
    drawers_first = drawn.to(torch.uint8).sort(dim=1, descending=True, stable=True)
    order = drawers_first.indices[:, :sharing]
    shares = masks * drawn
    return slots.gather(1, order), shares.gather(1, order)
