"""The noise level of a call, in the terms of its sampler."""

import math
from typing import Any

import torch
from torch import Tensor

from clora_ext.hosts.webui.drive.families import predicts_velocity


class NoiseLevel:
    """Where a call of the host's ``model`` (a sampler's wrapper of it) stands; ``sigma`` [row] is what it is given.

    k-diffusion samplers hold x = z * sqrt(sigma^2 + 1) and predict the denoised latent; timestep samplers hold z, are
    given the timestep instead of sigma and predict the noise.
    """

    def __init__(self, model: Any, sigma: Tensor) -> None:
        self._diffusion = model.inner_model
        self.denoises = hasattr(model, "sigma_to_t")
        """Whether predictions are of the denoised latent, not of the noise."""
        level = float(sigma[0])
        timestep = float(model.sigma_to_t(sigma[:1])) if self.denoises else level
        self.noise = timestep / 999.0
        """1 is pure noise, 0 none."""
        self.scale = math.sqrt(level**2 + 1.0) if self.denoises else 1.0
        """The sampler's latent in units of the variance preserving z."""
        self.alpha = 1.0 / self.scale if self.denoises else _alpha_at(timestep, self._diffusion.alphas_cumprod)
        """How much of the picture is in z."""

    @property
    def follows(self) -> float:
        """How far a prediction goes along with a moved latent while the model's output stays as it is.

        A model that predicts the noise holds it: the denoised latent goes all the way, the noise not at all. For v the
        noise is alpha * v + sqrt(1 - alpha^2) * z, and the denoised latent alpha * z - sqrt(1 - alpha^2) * v.
        """
        if self.denoises:
            return self.alpha * self.denoised_follows
        return math.sqrt(1.0 - self.alpha**2) if predicts_velocity(self._diffusion) else 0.0

    @property
    def denoised_follows(self) -> float:
        """How far the denoised latent goes for a move of z."""
        return self.alpha if predicts_velocity(self._diffusion) else 1.0 / self.alpha


def _alpha_at(timestep: float, alphas: Tensor) -> float:
    """The root of the model's alphas_cumprod; between timesteps its logarithm is linear (uni_pc.py)."""
    low = min(int(timestep), len(alphas) - 1)
    high = min(low + 1, len(alphas) - 1)
    ends = torch.stack([alphas[low], alphas[high]]).double().log() / 2.0
    return float(torch.lerp(ends[0], ends[1], timestep - low).exp())
