"""The embedded host's samplers, with a model whose noise is the same whatever it is given."""

from types import SimpleNamespace

import pytest
import torch

from clora_ext.hosts.diffusers.samplers import SAMPLERS, Sampler

FAR = 0.1
CALL = 3
"""At which z is moved: there are earlier predictions by then."""


def alphas_cumprod() -> torch.Tensor:
    """Stable Diffusion's."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0).float()


def ending(name: str, far: float) -> tuple[float, float]:
    """Mean of the last latent, and alpha where z was moved."""
    model = SimpleNamespace(prediction="epsilon", alphas_cumprod=alphas_cumprod())
    sampler = Sampler(SAMPLERS[name](model, 9), [torch.Generator().manual_seed(1)])
    latent = sampler.begin(torch.zeros(1, 4, 8, 8))
    for call in range(len(sampler.calls)):
        if call == CALL:
            z = sampler.z_of(latent, call)
            latent = sampler.latent_of(z + far, call)
            sampler.tell_move(torch.full_like(z, far), call)
        latent = sampler.step(torch.full_like(latent, 0.3), latent, call)
    alphas = alphas_cumprod().log() / 2
    low = int(sampler.calls[CALL])
    return float(latent.mean()), float(torch.lerp(alphas[low], alphas[low + 1], sampler.calls[CALL] - low).exp())


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_move_goes_through_the_samplers_own_arithmetic(name: str):
    """A move of z at alpha moves the picture by 1 / alpha of it, whatever the solver."""
    (still, _), (moved, alpha) = (ending(name, far) for far in (0.0, FAR))
    assert (moved - still) * alpha == pytest.approx(FAR, rel=2e-3)
