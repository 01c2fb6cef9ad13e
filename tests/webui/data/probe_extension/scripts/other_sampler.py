"""For tests only: a sampler of another extension, `Probe Euler`, which is Euler in its own words."""

from itertools import pairwise
from typing import Any

from modules import sd_samplers, sd_samplers_common
from modules.sd_samplers_kdiffusion import KDiffusionSampler

NAME = "Probe Euler"


def sample(model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None, **_: Any) -> Any:
    """A step after the other along the line to the denoised latent."""
    for number, (sigma, after) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma * x.new_ones([x.shape[0]]), **(extra_args or {}))
        if callback is not None:
            callback({"x": x, "i": number, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
        x = x + (x - denoised) / sigma * (after - sigma)
    return x


added = sd_samplers_common.SamplerData(NAME, lambda model: KDiffusionSampler(sample, model), [], {})
sd_samplers.all_samplers.append(added)
sd_samplers.all_samplers_map[NAME] = added
sd_samplers.set_samplers()
