"""The formulas of CLoRA (and of LoRA Switch and Composite), one plain function each.

Source: Meral et al., "CLoRA: A Contrastive Approach to Compose Multiple LoRA Models" (arXiv 2403.19776) as its authors'
code computes it, and Zhong et al., "Multi-LoRA Composition for Image Generation" (arXiv 2402.16843).
Every function takes any floating dtype; float64 is what the comparisons use. A map is an attention map [h, w] of one
token, a mask is a map of zeros and ones in the same dtype.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

TokenMap = int | tuple[int, ...]
"""What one embedding of the loss is made of: the map of one token, or the mean of the maps of several."""

Group = Sequence[Sequence[TokenMap]]
"""One concept: for every branch (base first) the embeddings that it contributes."""


# --- loss -------------------------------------------------------------------------------------------------------------


def min_max(attention: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Flatten a map [h, w] and stretch it to [0, 1]: (A - min A) / (max A - min A + epsilon), as a vector [h * w]."""
    flat = attention.reshape(-1)
    return (flat - flat.min()) / (flat.max() - flat.min() + epsilon)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of two vectors [n] as a scalar; 0 if one of them is all zeros (a constant map has no direction)."""
    if not a.any() or not b.any():
        return (a * b).sum()
    return (a * b).sum() / (torch.sqrt((a * a).sum()) * torch.sqrt((b * b).sum()))


def info_nce(groups: Sequence[Sequence[Tensor]], temperature: float = 0.5) -> Tensor | None:
    """The contrastive loss of groups of vectors [n], a scalar; None where there is no positive or no negative pair.

    Mean over all ordered pairs (i, j) inside a group of -log( e_ij / (e_ij + sum of e_ik over k outside the group) ),
    e_ij = exp(cosine of i and j / temperature).
    """
    terms = []
    for g, group in enumerate(groups):
        negatives = [vector for other, members in enumerate(groups) if other != g for vector in members]
        for i, anchor in enumerate(group):
            for j, positive in enumerate(group):
                if i == j or not negatives:
                    continue
                numerator = torch.exp(cosine(anchor, positive) / temperature)
                denominator = numerator
                for negative in negatives:
                    denominator = denominator + torch.exp(cosine(anchor, negative) / temperature)
                terms.append(-torch.log(numerator / denominator))
    if not terms:
        return None
    return sum(terms[1:], terms[0]) / len(terms)


def concept_vectors(maps: Sequence[Tensor], group: Group) -> list[Tensor]:
    """The embeddings [h * w] of one concept from each branch's maps [tokens, h, w], in the order of the group."""
    vectors = []
    for branch, token_maps in enumerate(group):
        for token_map in token_maps:
            tokens = (token_map,) if isinstance(token_map, int) else tuple(token_map)
            mean = sum(maps[branch][token] for token in tokens) / len(tokens)
            vectors.append(min_max(mean))
    return vectors


def contrastive_loss(maps: Sequence[Tensor], groups: Sequence[Group], temperature: float = 0.5) -> Tensor | None:
    """Loss of the concepts' maps; `maps` is one [tokens, h, w] a branch, base first. None: nothing to contrast."""
    return info_nce([concept_vectors(maps, group) for group in groups], temperature)


def update_latent(z: Tensor, gradient: Tensor, alpha: float) -> Tensor:
    """The latent after one update, z - alpha * gradient; same shape."""
    return z - alpha * gradient


# --- masks ------------------------------------------------------------------------------------------------------------


def token_mask(attention: Tensor, threshold: float) -> Tensor:
    """One token's mask: 1 where A > threshold * max A (strictly), else 0."""
    limit = threshold * attention.max()
    mask = torch.zeros_like(attention)
    for y in range(attention.shape[0]):
        for x in range(attention.shape[1]):
            if attention[y, x] > limit:
                mask[y, x] = 1
    return mask


def union(masks: Sequence[Tensor]) -> Tensor:
    """1 where at least one of the masks is 1."""
    result = torch.zeros_like(masks[0])
    for mask in masks:
        result = torch.maximum(result, mask)
    return result


def _window(mask: Tensor, y: int, x: int) -> Tensor:
    """The 3x3 neighbourhood of a pixel, cut off at the border (what lies outside takes no part)."""
    return mask[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]


def dilate(mask: Tensor) -> Tensor:
    """1 where any pixel of the 3x3 neighbourhood is 1."""
    result = torch.zeros_like(mask)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            result[y, x] = _window(mask, y, x).max()
    return result


def erode(mask: Tensor) -> Tensor:
    """1 where every pixel of the 3x3 neighbourhood is 1."""
    result = torch.zeros_like(mask)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            result[y, x] = _window(mask, y, x).min()
    return result


MORPHOLOGY = ("dilate", "erode", "opening", "closing")
"""The operations in the order in which they are applied, whatever the order in which they are asked for."""


def morphology(mask: Tensor, operations: Sequence[str]) -> Tensor:
    """Apply the asked 3x3 operations in the fixed order dilate, erode, opening, closing.

    Raises ValueError for an unknown operation.
    """
    for operation in operations:
        if operation not in MORPHOLOGY:
            raise ValueError(f"Unknown operation {operation!r}; choose from {', '.join(MORPHOLOGY)}.")
    if "dilate" in operations:
        mask = dilate(mask)
    if "erode" in operations:
        mask = erode(mask)
    if "opening" in operations:
        mask = dilate(erode(mask))
    if "closing" in operations:
        mask = erode(dilate(mask))
    return mask


def branch_masks(
    maps: Sequence[Tensor],
    mask_tokens: Sequence[Sequence[int]],
    threshold: float,
    operations: Sequence[str] = (),
) -> list[Tensor]:
    """The masks [h, w] of all branches, base first.

    `maps` is one tensor [tokens, h, w] a branch, `mask_tokens` the tokens of each branch's subject (trigger included).
    A branch's mask is the union of its tokens' masks; the base branch (usually without tokens) gets what no mask covers
    as well. Raises ValueError for a LoRA branch without tokens.
    """
    masks = []
    for branch, tokens in enumerate(mask_tokens):
        if not tokens and branch > 0:
            raise ValueError(f"Branch {branch} has no mask tokens; name the tokens of its subject.")
        if tokens:
            mask = union([token_mask(maps[branch][token], threshold) for token in tokens])
            masks.append(morphology(mask, operations))
        else:
            masks.append(torch.zeros_like(maps[branch][0]))
    covered = union(masks)
    masks[0] = union([masks[0], 1 - covered])
    return masks


def smallest_margin(maps: Sequence[Tensor], mask_tokens: Sequence[Sequence[int]], threshold: float) -> float:
    """How near any masked token's value comes to its threshold, min |A - threshold * max A|; inf without tokens."""
    margin = math.inf
    for branch, tokens in enumerate(mask_tokens):
        for token in tokens:
            attention = maps[branch][token]
            margin = min(margin, float((attention - threshold * attention.max()).abs().min()))
    return margin


# --- fusion -----------------------------------------------------------------------------------------------------------


def enlarge(mask: Tensor, height: int, width: int) -> Tensor:
    """Nearest-neighbour enlargement of a mask [h, w] to [height, width]."""
    result = torch.zeros(height, width, dtype=mask.dtype)
    for y in range(height):
        for x in range(width):
            result[y, x] = mask[y * mask.shape[0] // height, x * mask.shape[1] // width]
    return result


def fuse(predictions: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """Noise predictions [..., H, W] of all branches to one: sum of M_b * eps_b over sum of M_b, masks [H, W]."""
    weighted = torch.zeros_like(predictions[0])
    total = torch.zeros_like(masks[0])
    for prediction, mask in zip(predictions, masks, strict=True):
        weighted = weighted + mask * prediction
        total = total + mask
    return weighted / total


def guide(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance, uncond + scale * (cond - uncond)."""
    return uncond + scale * (cond - uncond)


# --- DDIM as WebUI runs it --------------------------------------------------------------------------------------------


def ddim_timesteps(steps: int) -> list[int]:
    """WebUI's DDIM timesteps in ascending order: 10 steps give 1, 101, ..., 901. The first one is never evaluated."""
    return [min(t + 1, 999) for t in range(0, 1000, 1000 // steps)]


def ddim_schedule(steps: int) -> list[tuple[int, int]]:
    """The pairs (timestep, timestep that it leads to) in the order of sampling: (901, 801), ..., (101, 1).

    One pair less than there are timesteps, as WebUI does it.
    """
    ascending = ddim_timesteps(steps)
    return [(ascending[i], ascending[i - 1]) for i in range(len(ascending) - 1, 0, -1)]


def ddim_step(z: Tensor, prediction: Tensor, alpha: float, alpha_next: float) -> Tensor:
    """One DDIM step without noise (eta 0) from cumulated alpha to that of the next timestep."""
    clean = (z - math.sqrt(1 - alpha) * prediction) / math.sqrt(alpha)
    return math.sqrt(alpha_next) * clean + math.sqrt(1 - alpha_next) * prediction


# --- LoRA Switch and Composite ----------------------------------------------------------------------------------------


def switch_active(step: int, count: int, period: int = 5) -> int:
    """Which of `count` LoRAs is active at a step: floor(step / period) mod count."""
    return step // period % count


def switch_active_released(step: int, count: int, period: int = 5) -> int:
    """As the released code of LoRA Switch does it: it switches at the end of step i if i > 0 and i mod period = 0.

    So the first LoRA runs one step more than the others.
    """
    active = 0
    for i in range(step):
        if i > 0 and i % period == 0:
            active = (active + 1) % count
    return active


def composite(predictions: Sequence[Tensor]) -> Tensor:
    """LoRA Composite: the plain mean of the LoRAs' predictions (uncond and cond halves each on their own)."""
    return sum(predictions[1:], predictions[0]) / len(predictions)
