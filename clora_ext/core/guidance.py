"""One update of the latent against the gradient of the loss."""

import torch

from clora_ext.core.shapes import Latent


def step(latent: Latent, gradient: Latent, size: float, *, clip: float = 0.0) -> Latent:
    """z' = z - alpha * dL/dz (CLoRA, section 3.3), per image.

    ``clip`` bounds the root mean square of the move, in latent units; 0 for no bound.
    """
    move = gradient * size
    if clip > 0.0:
        rms = move.float().square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        move = move * (clip / rms.clamp(min=clip)).to(move.dtype)
    return (latent - move).detach()


def finite(gradient: Latent) -> bool:
    """Whether a gradient can be used; half precision overflows now and then."""
    return bool(torch.isfinite(gradient).all())
