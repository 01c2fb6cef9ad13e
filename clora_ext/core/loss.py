"""The contrastive objective: maps of one concept together, maps of different concepts apart."""

import torch
from torch.nn import functional as F

from clora_ext.core.maps import smoothed
from clora_ext.core.shapes import GroupIds, Maps, Scalar


def normalise(maps: Maps) -> Maps:
    """Min-max each map to [0, 1], which removes the constant background before cosine similarity. float32 at least."""
    maps = maps if maps.dtype == torch.float64 else maps.float()
    low = maps.amin(dim=(-2, -1), keepdim=True)
    high = maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low + 1e-8)


def _pairs(groups: GroupIds) -> tuple[torch.Tensor, torch.Tensor]:
    """(positive pairs, maps of one concept), both [map, map]; a concept's only map is its own partner."""
    same = groups[:, None] == groups[None, :]
    itself = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    partners = same & ~itself
    single = same.sum(dim=1) == 1
    return torch.where(single[:, None], itself, partners), same


def info_nce(maps: Maps, groups: GroupIds, temperature: float) -> Scalar:
    """NT-Xent over ordered positive pairs (CLoRA, equation 2; InfoNCE with cosine similarity).

    An anchor's denominator holds the one positive of the pair and all maps of other groups. A concept with a single map
    (ours: where one row is all there is) is its own positive, so that it is still pushed away from the others.
    Without a negative there is nothing to contrast: zero, still differentiable.
    """
    similarity = _cosine_similarity(maps) / temperature
    pairs, same = _pairs(groups)
    if same.all():
        return maps.sum() * 0.0
    others = similarity.masked_fill(same, float("-inf"))
    negatives = others.logsumexp(dim=1, keepdim=True)
    losses = F.softplus(negatives - similarity)  # -log(e^s / (e^s + sum of e^negatives))
    return losses[pairs].mean()


def _cosine_similarity(maps: Maps) -> torch.Tensor:
    """Of every pair of normalised maps: [map, map]."""
    points = F.normalize(normalise(maps).flatten(1), dim=1)  # map, pixel
    return points @ points.T


def separation(maps: Maps, groups: GroupIds) -> float:
    """Mean cosine similarity within concepts minus that between them: 1 is apart, 0 is not told apart."""
    similarity = _cosine_similarity(maps.detach())
    pairs, same = _pairs(groups)
    if same.all():
        return 0.0
    within, between = similarity[pairs].mean(), similarity[~same].mean()
    return float(within - between)


def absence(maps: Maps, groups: GroupIds) -> Scalar:
    """How far the concept that is worst off is from a place of its own: 0 where each has one, 1 or more where one
    is swallowed (ours; Attend-and-Excite's worst token, measured against the other concepts instead of against 1).

    A concept's strength is the mean of its maps, blurred; its place is where it leads all others most, in shares of
    the largest strength there is. InfoNCE compares shapes and is blind to strength: a map too weak to make a mask
    can be perfectly apart.
    """
    means = [maps[groups == concept].mean(dim=0) for concept in groups.unique()]
    if len(means) < 2:
        return maps.sum() * 0.0
    strengths = smoothed(torch.stack(means), 0.7)  # concept, height, width
    itself = torch.eye(len(strengths), dtype=torch.bool, device=maps.device)
    rivals = strengths[None].masked_fill(itself[:, :, None, None], float("-inf"))
    lead = (strengths - rivals.amax(dim=1)).flatten(1).amax(dim=1)
    missing = 1.0 - lead / strengths.detach().amax()
    return F.relu(missing).amax()
