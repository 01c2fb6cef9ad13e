"""Many branches' predictions to one."""

import torch

from clora_ext.core.shapes import Predictions, Weights


def fuse(predictions: Predictions, weights: Weights) -> torch.Tensor:
    """One prediction [channel, y, x] = sum over branches of weight * prediction (CLoRA, section 3.4).

    Any prediction that is affine in the noise (noise, or the denoised latent) may be fused: weights sum to 1.
    """
    return (predictions * weights[:, None].to(predictions.dtype)).sum(dim=0)


def uniform(branches: int, like: torch.Tensor) -> Weights:
    """The same share for every branch: what the composition does before masks apply."""
    return torch.full((branches, *like.shape[-2:]), 1.0 / branches, dtype=like.dtype, device=like.device)
