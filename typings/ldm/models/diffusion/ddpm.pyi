# WebUI 1.10.1: repositories/stable-diffusion-stability-ai/ldm/models/diffusion/ddpm.py

import torch
from torch import Tensor, nn

class DiffusionWrapper(nn.Module):
    diffusion_model: nn.Module
    conditioning_key: str | None

# PyTorch Lightning's module, of which two properties are used.
class LatentDiffusion(nn.Module):
    model: DiffusionWrapper
    first_stage_model: nn.Module
    cond_stage_key: str
    parameterization: str
    alphas_cumprod: Tensor  # set in repositories/stable-diffusion-stability-ai/ldm/models/diffusion/ddpm.py

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    # Of SDXL the conditions are a dictionary (modules/sd_models_xl.py).
    def get_learned_conditioning(self, c: list[str]) -> Tensor | dict[str, Tensor]: ...
    def apply_model(self, x_noisy: Tensor, t: Tensor, cond: dict[str, list[Tensor]]) -> Tensor: ...
    def decode_first_stage(self, z: Tensor) -> Tensor: ...
