# WebUI 1.10.1: modules/sd_samplers_timesteps.py

from ldm.models.diffusion.ddpm import LatentDiffusion
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.sd_samplers_common import Sampler
from torch import Tensor, nn

class CompVisTimestepsDenoiser(nn.Module):
    inner_model: LatentDiffusion

    def __call__(self, input: Tensor, timesteps: Tensor, *, cond: dict[str, list[Tensor]]) -> Tensor: ...
    def forward(self, input: Tensor, timesteps: Tensor, *, cond: dict[str, list[Tensor]]) -> Tensor: ...

class CompVisTimestepsVDenoiser(nn.Module):
    inner_model: LatentDiffusion

    def __call__(self, input: Tensor, timesteps: Tensor, *, cond: dict[str, list[Tensor]]) -> Tensor: ...
    def forward(self, input: Tensor, timesteps: Tensor, *, cond: dict[str, list[Tensor]]) -> Tensor: ...

# Its model predicts the noise.
class CFGDenoiserTimesteps(CFGDenoiser):
    alphas: Tensor

    @property
    def inner_model(self) -> CompVisTimestepsDenoiser | CompVisTimestepsVDenoiser: ...

class CompVisSampler(Sampler):
    model_wrap_cfg: CFGDenoiserTimesteps
    model_wrap: CompVisTimestepsDenoiser | CompVisTimestepsVDenoiser
