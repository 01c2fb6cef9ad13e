"""The contrastive objective: maps of one concept together, maps of different concepts apart."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from clora_ext.core.maps import smoothed
from clora_ext.core.shapes import Maps, Scalar


def normalise(maps: Maps) -> Maps:
    """Min-max each map to [0, 1], which removes the constant background before cosine similarity. float32 at least."""
    maps = maps if maps.dtype == torch.float64 else maps.float()
    low = maps.amin(dim=(-2, -1), keepdim=True)
    high = maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low + 1e-8)


class Groups:
    """Which maps show one concept, as indices on a ``device``: nothing that uses them waits for the device.

    ``groups`` has the concept of every map. A concept's only map is its own partner.
    """

    def __init__(self, groups: Sequence[int], device: torch.device) -> None:
        concepts = torch.tensor(groups)
        same = concepts[:, None] == concepts[None, :]
        itself = torch.eye(len(groups), dtype=torch.bool)
        single = same.sum(dim=1) == 1
        positive = torch.where(single[:, None], itself, same & ~itself)
        self.contrasted = not bool(same.all())
        """Whether there are maps of different concepts."""
        self.same = same.to(device)
        """[map, map]"""
        self.pairs = _places(positive).to(device)
        """Positive pairs, as places in [map * map]; ``others`` are those of different concepts."""
        self.others = _places(~same).to(device)
        self.concepts = [_places(concepts == concept).to(device) for concept in concepts.unique()]
        """The places of each concept's maps."""


def _places(chosen: Tensor) -> Tensor:
    return chosen.flatten().nonzero().flatten()


@lru_cache(maxsize=32)
def groups_on(groups: tuple[int, ...], device: torch.device) -> Groups:
    """Made once: the same maps are compared at every update."""
    return Groups(groups, device)


def info_nce(maps: Maps, groups: Sequence[int], temperature: float) -> Scalar:
    """NT-Xent over ordered positive pairs (CLoRA, equation 2; InfoNCE with cosine similarity).

    ``groups`` has the concept of every map. An anchor's denominator holds the one positive of the pair and all maps of
    other groups. A concept with a single map (ours: where one row is all there is) is its own positive, so that it is
    still pushed away from the others. Without a negative there is nothing to contrast: zero, still differentiable.
    """
    similarity = _cosine_similarity(maps) / temperature
    found = groups_on(tuple(groups), maps.device)
    if not found.contrasted:
        return maps.sum() * 0.0
    others = similarity.masked_fill(found.same, float("-inf"))
    negatives = others.logsumexp(dim=1, keepdim=True)
    losses = F.softplus(negatives - similarity)  # -log(e^s / (e^s + sum of e^negatives))
    return losses.flatten().index_select(0, found.pairs).mean()


def _cosine_similarity(maps: Maps) -> Tensor:
    """Of every pair of normalised maps: [map, map]."""
    points = F.normalize(normalise(maps).flatten(1), dim=1)  # map, pixel
    return points @ points.T


def separation(maps: Maps, groups: Sequence[int]) -> Scalar:
    """Mean cosine similarity within concepts minus that between them: 1 is apart, 0 is not told apart."""
    similarity = _cosine_similarity(maps.detach()).flatten()
    found = groups_on(tuple(groups), maps.device)
    if not found.contrasted:
        return similarity.new_zeros(())
    within, between = (similarity.index_select(0, places).mean() for places in (found.pairs, found.others))
    return within - between


def absence(maps: Maps, groups: Sequence[int]) -> Scalar:
    """How far the concept that is worst off is from a place of its own: 0 where each has one, 1 or more where one
    is swallowed (ours; Attend-and-Excite's worst token, measured against the other concepts instead of against 1).

    A concept's strength is the mean of its maps, blurred; its place is where it leads all others most, in shares of
    the largest strength there is. InfoNCE compares shapes and is blind to strength: a map too weak to make a mask
    can be perfectly apart.
    """
    concepts = groups_on(tuple(groups), maps.device).concepts
    means = [maps.index_select(0, places).mean(dim=0) for places in concepts]
    if len(means) < 2:
        return maps.sum() * 0.0
    strengths = smoothed(torch.stack(means), 0.7)  # concept, height, width
    itself = torch.eye(len(strengths), dtype=torch.bool, device=maps.device)
    rivals = strengths[None].masked_fill(itself[:, :, None, None], float("-inf"))
    lead = (strengths - rivals.amax(dim=1)).flatten(1).amax(dim=1)
    missing = 1.0 - lead / strengths.detach().amax()
    return F.relu(missing).amax()
