# WebUI 1.10.1: repositories/k-diffusion/k_diffusion/external.py

from ldm.models.diffusion.ddpm import LatentDiffusion
from torch import Tensor, nn

class DiscreteSchedule(nn.Module):
    sigmas: Tensor  # set in repositories/k-diffusion/k_diffusion/external.py
    log_sigmas: Tensor  # set in repositories/k-diffusion/k_diffusion/external.py
    quantize: bool

    @property
    def sigma_min(self) -> Tensor: ...
    @property
    def sigma_max(self) -> Tensor: ...
    def get_sigmas(self, n: int | None = None) -> Tensor: ...
    # Timesteps 0..999, of the shape of ``sigma``.
    def sigma_to_t(self, sigma: Tensor, quantize: bool | None = None) -> Tensor: ...
    def t_to_sigma(self, t: Tensor) -> Tensor: ...

class CompVisDenoiser(DiscreteSchedule):
    inner_model: LatentDiffusion

    def __call__(self, input: Tensor, sigma: Tensor, *, cond: dict[str, list[Tensor]]) -> Tensor: ...
    def forward(self, input: Tensor, sigma: Tensor, *, cond: dict[str, list[Tensor]]) -> Tensor: ...

class CompVisVDenoiser(DiscreteSchedule):
    inner_model: LatentDiffusion

    def __call__(self, input: Tensor, sigma: Tensor, *, cond: dict[str, list[Tensor]]) -> Tensor: ...
    def forward(self, input: Tensor, sigma: Tensor, *, cond: dict[str, list[Tensor]]) -> Tensor: ...
