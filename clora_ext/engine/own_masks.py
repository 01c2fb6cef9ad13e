"""Somebody's own masks, instead of what attention says or together with it.

fixed: the subject's region is this mask; attention says nothing of it.
limited: what attention says, but only where this mask is at least half white.
added: what attention says, and wherever this mask is at least half white. There, who claims by attention alone gives
way.

Fixed masks come first: where several are white they share equally, and the others share what they leave.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.core import masks
from clora_ext.core.maps import Grid
from clora_ext.core.shapes import Maps, Masks, RegionMasks
from clora_ext.core.window import Window
from clora_ext.prompt import MaskWay

CLAIMED = 0.5
"""Share from which a cell of a mask that is limited or added counts as white."""


@dataclass(frozen=True, slots=True)
class OwnMask:
    """One concept's."""

    way: MaskWay
    picture: Tensor
    """[height, width] of any size: 1 where the concept is to be, 0 where it is not."""


@dataclass(frozen=True, slots=True)
class OwnMasks:
    """Those of one picture by concept, None for a concept without one."""

    masks: tuple[OwnMask | None, ...] = ()

    @property
    def concepts(self) -> frozenset[int]:
        """Those that have one."""
        return frozenset(concept for concept, mask in enumerate(self.masks) if mask is not None)

    @property
    def all_fixed(self) -> bool:
        """Whether nothing is left to attention."""
        ways = {None if mask is None else mask.way for mask in self.masks}
        return ways == {"fixed"}

    def on(self, size: Grid, window: Window | None = None) -> "OwnMasks":
        """The same on a grid; of the part in ``window`` where only that is drawn."""

        def drawn(picture: Tensor) -> Tensor:
            part = picture if window is None else window.of(picture)
            return masks.on_grid(part[None], size)[0]

        return self._each(drawn)

    def to(self, device: torch.device) -> "OwnMasks":
        """The same on a device."""
        return self._each(lambda picture: picture.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "OwnMasks":
        changed = [None if mask is None else OwnMask(mask.way, change(mask.picture)) for mask in self.masks]
        return OwnMasks(tuple(changed))

    def regions(self, claims: Masks, strengths: Maps, overlap: str) -> Tensor:
        """Region masks of what attention ``claims``, made of ``strengths`` [concept, height, width], and of these.

        Where there are own masks, the regions have their grid.
        """
        size = self._size()
        if size is None:
            return masks.region_masks(claims, strengths, overlap)
        strengths = masks.on_grid(strengths, size)
        claims = masks.on_grid(claims.to(strengths.dtype), size) >= CLAIMED
        found = masks.region_masks(self._claims(claims), strengths, overlap)
        return self._fix(found)

    def fixed_regions(self) -> RegionMasks:
        """Region masks where ``all_fixed``: the base draws what no mask takes."""
        size = self._size()
        if size is None:
            raise RuntimeError("there are no own masks")
        like = self._pictures(range(len(self.masks)))
        nobody = torch.zeros(len(self.masks), *size, dtype=like.dtype, device=like.device)
        return self._fix(torch.cat([torch.ones_like(nobody[:1]), nobody]))

    def _size(self) -> Grid | None:
        for mask in self.masks:
            if mask is not None:
                height, width = mask.picture.shape
                return height, width
        return None

    def _that_are(self, way: MaskWay) -> list[int]:
        return [concept for concept, mask in enumerate(self.masks) if mask is not None and mask.way == way]

    def _pictures(self, concepts: Sequence[int]) -> Maps:
        own = [self.masks[concept] for concept in concepts]
        return torch.stack([mask.picture for mask in own if mask is not None])

    def _claims(self, claims: Masks) -> Masks:
        """What attention claims, limited and added to; who has a fixed mask claims nothing."""
        found = claims.clone()
        found[self._that_are("fixed")] = False
        limited, added = self._that_are("limited"), self._that_are("added")
        if limited:
            found[limited] &= self._pictures(limited) >= CLAIMED
        if added:
            painted = self._pictures(added) >= CLAIMED
            found &= ~painted.any(dim=0)
            found[added] |= painted
        return found

    def _fix(self, regions: RegionMasks) -> RegionMasks:
        fixed = self._that_are("fixed")
        return masks.with_fixed(regions, self._pictures(fixed).to(regions), fixed) if fixed else regions


NO_OWN_MASKS = OwnMasks()
"""Attention alone says who draws what."""
