# WebUI 1.10.1: modules/sd_samplers_cfg_denoiser.py

from modules.processing import StableDiffusionProcessing
from modules.prompt_parser import MulticondLearnedConditioning, ScheduledPromptConditioning
from modules.sd_samplers_common import Sampler
from torch import Tensor, nn

class CFGDenoiser(nn.Module):
    # Of inpainting, at the size of the latent; None without.
    mask: Tensor | None
    nmask: Tensor | None
    init_latent: Tensor | None
    # Steps, and expected calls of the model; None before the sampling begins.
    steps: int | None
    total_steps: int | None
    # Calls of the model so far.
    step: int
    image_cfg_scale: float | None
    sampler: Sampler
    # None before the sampling begins.
    p: StableDiffusionProcessing | None
    need_last_noise_uncond: bool
    last_noise_uncond: Tensor | None
    mask_before_denoising: bool

    def __init__(self, sampler: Sampler) -> None: ...
    @property
    def inner_model(self) -> nn.Module: ...
    def combine_denoised(
        self, x_out: Tensor, conds_list: list[list[tuple[int, float]]], uncond: Tensor, cond_scale: float
    ) -> Tensor: ...
    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor: ...
    def update_inner_model(self) -> None: ...
    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        uncond: list[list[ScheduledPromptConditioning]],
        cond: MulticondLearnedConditioning,
        cond_scale: float,
        s_min_uncond: float,
        image_cond: Tensor,
    ) -> Tensor: ...
