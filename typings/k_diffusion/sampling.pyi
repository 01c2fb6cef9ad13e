# WebUI 1.10.1: repositories/k-diffusion/k_diffusion/sampling.py

from collections.abc import Callable, Mapping
from typing import Any

import torch
from k_diffusion.external import CompVisDenoiser, CompVisVDenoiser
from torch import Tensor

# One more than ``n``: the last is 0.
def get_sigmas_karras(
    n: int, sigma_min: float, sigma_max: float, rho: float = 7.0, device: torch.device | str = "cpu"
) -> Tensor: ...

# ``callback`` is given the latent, the noise level and what was predicted of every step.
def sample_dpmpp_2m(
    model: CompVisDenoiser | CompVisVDenoiser,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
) -> Tensor: ...
