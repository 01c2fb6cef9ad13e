"""The masks of one image from step to step, until they are locked."""

from itertools import pairwise

import torch
from torch import Tensor

from clora_ext.batch.plan import BranchMaps, TokenPlan
from clora_ext.core import masks
from clora_ext.core.shapes import Maps, RegionMasks
from clora_ext.engine.own_masks import NO_OWN_MASKS, OwnMasks
from clora_ext.engine.step_plan import Lock, MaskState
from clora_ext.settings.knobs import Settings

HISTORY = 3
"""How many masks are averaged when they are locked, and how many must agree before."""


class ImageMasks:
    """Who draws what in one image: found anew from every step's maps until it is locked.

    ``regions`` are region masks that are locked from the start, or None. ``own`` are somebody's own masks on the
    latent's grid; where they leave nothing to attention, they are locked from the start too.
    """

    def __init__(self, settings: Settings, regions: RegionMasks | None = None, own: OwnMasks = NO_OWN_MASKS) -> None:
        self.settings = settings
        self.own = own
        if regions is None and own.all_fixed:
            regions = own.fixed_regions()
        self.regions = regions
        """The latest region masks [branch, height, width]; None before the first maps."""
        self.strengths: Maps | None = None
        """What they were made from: the mean map [concept, height, width] of every concept's words."""
        self.locked = regions is not None
        self.outside: frozenset[int] = frozenset()
        """Concepts that the picture has outside of the part of it that is drawn: they claim no pixel."""
        self._history: list[RegionMasks] = []

    @property
    def state(self) -> MaskState:
        """What a step's plan wants to know."""
        return MaskState(self.regions is not None, self.locked, bool(self.outside))

    def reopen(self) -> None:
        """Masks that were locked from the start are the first ones only, and found anew until a lock."""
        self.locked = self.own.all_fixed

    def read(self, plan: TokenPlan, maps: BranchMaps) -> None:
        """Make the masks from the recorded maps [column, height, width] of the branches.

        A concept is looked for in its own branch, or in the base where that is all that was recorded.
        """
        trigger = self.settings.mask_tokens == "both"
        claims: list[Tensor] = []
        strengths: list[Tensor] = []
        for concept in range(len(plan.concepts)):
            branch = concept + 1 if concept + 1 in maps else 0
            places = plan.mask_places(concept, branch, trigger=trigger)
            own = maps[branch][places]
            claims.append(masks.concept_mask(own, self.settings.mask_threshold))
            strengths.append(own.mean(dim=0))
        united = masks.apply_morphology(torch.stack(claims), self.settings.morphology)
        united[sorted(self.outside)] = False
        self.strengths = torch.stack(strengths)
        self.regions = self.own.regions(united, self.strengths, self.settings.overlap)

    def settle(self, lock: Lock) -> bool:
        """The step is over: lock the masks if ``lock`` asks for it. Gives whether they have just been locked."""
        if self.regions is None or self.locked:
            return False
        self._history = [*self._history, self.regions][-HISTORY:]
        if self._locks(lock):
            self.regions = torch.stack(self._history).mean(dim=0)
            self.locked = True
        return self.locked

    def _locks(self, lock: Lock) -> bool:
        match lock:
            case Lock.NO:
                return False
            case Lock.IF_STEADY:
                return self._steady()
            case Lock.IF_AVERAGED:
                return len(self._history) == HISTORY
            case Lock.NOW:
                return True

    def _steady(self) -> bool:
        if len(self._history) < HISTORY:
            return False
        moved = [masks.changed_share(before, now) for before, now in pairwise(self._history)]
        return max(moved) < self.settings.lock_steady
