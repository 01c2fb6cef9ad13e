"""The samplers by WebUI's names, as diffusers' schedulers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from torch import Tensor

from clora_ext.hosts.diffusers.checkpoint import Model


class Scheduled(Protocol):
    """What a scheduler makes of a prediction."""

    prev_sample: Tensor
    """The latent of the next timestep."""


class Scheduler(Protocol):
    """What diffusers' schedulers have in common."""

    timesteps: Tensor

    @property
    def init_noise_sigma(self) -> float | Tensor:
        """What the first noise is multiplied with."""
        ...

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """The variance preserving latent z."""
        ...

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, generator: list[torch.Generator]
    ) -> Scheduled:
        """Go on to the next timestep."""
        ...


def _ddim(model: Model, steps: int) -> DDIMScheduler:
    """Without noise, at WebUI's timesteps."""
    made = DDIMScheduler(
        clip_sample=False, set_alpha_to_one=False, timestep_spacing="leading", prediction_type=model.prediction
    )
    made.alphas_cumprod = model.alphas_cumprod.cpu()
    made.num_inference_steps = steps
    made.timesteps = torch.tensor(timesteps(steps))
    return made


def timesteps(steps: int) -> list[int]:
    """The timesteps at which WebUI's DDIM calls the model, first to last (sd_samplers_timesteps.py).

    One fewer than its grid has points: 10 steps are the 9 calls 901, 801 ... 101.
    """
    grid = [min(step + 1, 999) for step in range(0, 1000, 1000 // steps)]
    return grid[:0:-1]


class _Timed(Scheduler, Protocol):
    alphas_cumprod: Tensor

    def set_timesteps(self, num_inference_steps: int) -> None: ...
    def set_begin_index(self, begin_index: int = 0) -> None: ...


def _timed(make: Callable[..., _Timed], model: Model, steps: int) -> Scheduler:
    """At the timesteps that diffusers chooses: evenly spaced, or on Karras' noise levels."""
    made = make(prediction_type=model.prediction)
    made.alphas_cumprod = model.alphas_cumprod.cpu()
    made.set_timesteps(steps)
    made.set_begin_index(0)
    return made


SAMPLERS: Mapping[str, Callable[[Model, int], Scheduler]] = {
    "DDIM": _ddim,
    "Euler": partial(_timed, EulerDiscreteScheduler),
    "Euler a": partial(_timed, EulerAncestralDiscreteScheduler),
    "DPM++ 2M": partial(_timed, partial(DPMSolverMultistepScheduler, use_karras_sigmas=True)),
}
"""By WebUI's names, each with the noise levels that it has there by default."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """One run of a sampler over latents that are z times a scale.

    A latent may be updated after the model was called: the model's output is held then, noise or velocity.
    ``generators`` are the pictures' own, for samplers that add noise.
    """

    scheduler: Scheduler
    generators: Sequence[torch.Generator]

    @property
    def calls(self) -> list[float]:
        """The timestep of every call of the model."""
        found: list[float] = self.scheduler.timesteps.tolist()
        return found

    def begin(self, noise: Tensor) -> Tensor:
        """The first latent."""
        return noise * self.scheduler.init_noise_sigma

    def z_of(self, latent: Tensor, call: int) -> Tensor:
        """The variance preserving latent."""
        return self.scheduler.scale_model_input(latent, self.scheduler.timesteps[call])

    def latent_of(self, z: Tensor, call: int) -> Tensor:
        """The other way."""
        return z * self._scale(call)

    def _scale(self, call: int) -> float:
        """Euler's latents have the variance sigma^2 + 1, those of the others 1."""
        if not isinstance(self.scheduler, (EulerDiscreteScheduler, EulerAncestralDiscreteScheduler)):
            return 1.0
        return math.sqrt(float(self.scheduler.sigmas[call]) ** 2 + 1.0)

    def tell_move(self, far: Tensor, call: int) -> None:
        """Move what the next step is made from, beside the latent, along with z, which was moved ``far``.

        DPM++ 2M keeps the denoised latent of the call before. The model's output is held: noise, or velocity.
        """
        scheduler = self.scheduler
        if not isinstance(scheduler, DPMSolverMultistepScheduler):
            return
        alpha = 1.0 / math.sqrt(float(scheduler.sigmas[call]) ** 2 + 1.0)
        follows = alpha if scheduler.config.prediction_type == "v_prediction" else 1.0 / alpha
        kept = scheduler.model_outputs
        kept[:] = [None if output is None else output + far * follows for output in kept]

    def step(self, predicted: Tensor, latent: Tensor, call: int) -> Tensor:
        """The latent of the next call."""
        timestep = self.scheduler.timesteps[call]
        return self.scheduler.step(predicted, timestep, latent, generator=list(self.generators)).prev_sample
