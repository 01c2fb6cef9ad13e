"""The contrastive objective: maps of one concept together, maps of different concepts apart."""

import torch
from torch.nn import functional as F

from clora_ext.core.shapes import GroupIds, Maps, Scalar


def normalise(maps: Maps) -> Maps:
    """Min-max each map to [0, 1], which removes the constant background before cosine similarity. float32 at least."""
    maps = maps if maps.dtype == torch.float64 else maps.float()
    low = maps.amin(dim=(-2, -1), keepdim=True)
    high = maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low + 1e-8)


def info_nce(maps: Maps, groups: GroupIds, temperature: float) -> Scalar:
    """NT-Xent over ordered positive pairs (CLoRA, equation 2; InfoNCE with cosine similarity).

    An anchor's denominator holds the one positive of the pair and all maps of other groups. Without a positive or
    without a negative there is nothing to contrast: zero, still differentiable.
    """
    points = F.normalize(normalise(maps).flatten(1), dim=1)  # map, pixel
    similarity = points @ points.T / temperature
    same = groups[:, None] == groups[None, :]
    pairs = same & ~torch.eye(len(groups), dtype=torch.bool, device=maps.device)
    if not pairs.any() or same.all():
        return maps.sum() * 0.0
    negatives = similarity.masked_fill(same, float("-inf")).logsumexp(dim=1, keepdim=True)
    return F.softplus(negatives - similarity)[pairs].mean()  # -log(e^s / (e^s + sum of e^negatives))


def separation(maps: Maps, groups: GroupIds) -> float:
    """Mean cosine similarity within concepts minus that between them: 1 is apart, 0 is not told apart."""
    points = F.normalize(normalise(maps.detach()).flatten(1), dim=1)
    similarity = points @ points.T
    same = groups[:, None] == groups[None, :]
    pairs = same & ~torch.eye(len(groups), dtype=torch.bool, device=maps.device)
    if not pairs.any() or same.all():
        return 0.0
    return float(similarity[pairs].mean() - similarity[~same].mean())
