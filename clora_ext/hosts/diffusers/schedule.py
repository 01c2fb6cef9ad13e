"""The noise schedule: how much of the picture is left at each of the 1000 timesteps."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_LEAST = 4.8973451890853435e-08
"""What WebUI puts in the place of nothing at the last timestep (modules/sd_models.py)."""


def alphas_cumprod(params: Mapping[str, Any], *, zero_terminal_snr: bool = False) -> Tensor:
    """ldm's ``linear`` schedule, which diffusers calls scaled linear: [timestep], float32.

    ``params`` are those of the model's yaml; sgm's do not say, and mean SD's. With ``zero_terminal_snr`` it ends at
    pure noise (Lin et al., https://arxiv.org/abs/2305.08891, algorithm 1).
    """
    first, last = params.get("linear_start", 0.00085), params.get("linear_end", 0.012)
    betas = torch.linspace(first**0.5, last**0.5, params.get("timesteps", 1000), dtype=torch.float64) ** 2
    found = torch.cumprod(1.0 - betas, dim=0).float()
    return _ending_at_noise(found) if zero_terminal_snr else found


def _ending_at_noise(found: Tensor) -> Tensor:
    """Shifted so that the last is nothing, scaled so that the first stays."""
    roots = found.sqrt()
    scaled = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    moved = scaled**2
    moved[-1] = _LEAST
    return moved
