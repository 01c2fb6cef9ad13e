"""The masks of every image from step to step, until they are locked."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from clora_ext.core import masks
from clora_ext.core.concepts import Plan
from clora_ext.core.shapes import Weights
from clora_ext.settings import Settings

KEPT = 3
"""How many masks are averaged when they are locked, and how many must agree before."""


class Masking:
    """Who draws what, per image: found anew from every step's maps until it is locked, each image by itself."""

    def __init__(self, settings: Settings, images: int) -> None:
        self.settings = settings
        self.current: dict[int, Weights] = {}
        """The latest weights [branch, height, width] of every image that has any."""
        self.maps: dict[int, Tensor] = {}
        """What they were made from: the mean map [concept, height, width] of every concept's words."""
        self.locked: set[int] = set()
        self._kept: list[list[Weights]] = [[] for _ in range(images)]

    def see(self, image: int, plan: Plan, maps: Mapping[int, Tensor]) -> None:
        """Make the weights of ``image`` from the recorded maps [column, height, width] of its branches.

        A concept is looked for in its own branch, or in the base where that alone was recorded.
        """
        regions: list[Tensor] = []
        strengths: list[Tensor] = []
        for concept in range(len(plan.concepts)):
            branch = concept + 1 if concept + 1 in maps else 0
            places = plan.own(concept, trigger=self.settings["mask_tokens"] == "both", branch=branch)
            own = maps[branch][list(places)]
            regions.append(masks.region(own, self.settings["mask_threshold"]))
            strengths.append(own.mean(dim=0))
        united = masks.morphed(torch.stack(regions), self.settings.morphology)
        self.maps[image] = torch.stack(strengths)
        self.current[image] = masks.shares(united, self.maps[image], self.settings["overlap"])

    def settle(self, image: int, here: float) -> None:
        """The step is over for ``image``: lock its masks if they are steady, or if it is time."""
        kept = self._kept[image] = [*self._kept[image], self.current[image]][-KEPT:]
        if self._due(kept, here):
            self.current[image] = torch.stack(kept).mean(dim=0)
            self.locked.add(image)

    def _due(self, kept: Sequence[Weights], here: float) -> bool:
        if 0.0 < self.settings["lock_at"] <= here:
            return True
        if len(kept) < KEPT or here < self.settings["lock_after"]:
            return False
        moved = [masks.changed(one, other) for one, other in pairwise(kept)]
        return max(moved) < self.settings["lock_steady"]
