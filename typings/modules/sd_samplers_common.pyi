# WebUI 1.10.1: modules/sd_samplers_common.py

from collections.abc import Callable
from typing import Any, NamedTuple

from modules.processing import StableDiffusionProcessing
from modules.prompt_parser import MulticondLearnedConditioning, ScheduledPromptConditioning
from modules.sd_models_types import WebuiSdModel
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from PIL.Image import Image
from torch import Tensor

_Uncond = list[list[ScheduledPromptConditioning]]

class SamplerDataTuple(NamedTuple):
    name: str
    constructor: Callable[[WebuiSdModel], Sampler]
    aliases: list[str]
    # ``second_order`` among them: two calls of the model in a step.
    options: dict[str, Any]

class SamplerData(SamplerDataTuple):
    def total_steps(self, steps: int) -> int: ...

class Sampler:
    funcname: str | Callable[..., Tensor]
    func: str | Callable[..., Tensor]
    extra_params: list[str]
    eta: float | None
    config: SamplerData
    # The denoised latent of the last call; None before the first.
    last_latent: Tensor | None
    s_min_uncond: float | None
    conditioning_key: str | None
    # None before the sampling begins.
    p: StableDiffusionProcessing | None
    model_wrap_cfg: CFGDenoiser
    # cond, image_cond, uncond, cond_scale and s_min_uncond; None before the sampling begins.
    sampler_extra_args: dict[str, Any] | None
    options: dict[str, Any]

    def callback_state(self, d: dict[str, Any]) -> None: ...
    def sample(
        self,
        p: StableDiffusionProcessing,
        x: Tensor,
        conditioning: MulticondLearnedConditioning,
        unconditional_conditioning: _Uncond,
        steps: int | None = None,
        image_conditioning: Tensor | None = None,
    ) -> Tensor: ...
    def sample_img2img(
        self,
        p: StableDiffusionProcessing,
        x: Tensor,
        noise: Tensor,
        conditioning: MulticondLearnedConditioning,
        unconditional_conditioning: _Uncond,
        steps: int | None = None,
        image_conditioning: Tensor | None = None,
    ) -> Tensor: ...

# Ends a sampling quietly; no Exception, so handlers of those let it pass.
class InterruptedException(BaseException): ...

# How many steps the schedule has, and how many of its last are made, less one.
def setup_img2img_steps(p: StableDiffusionProcessing, steps: int | None = None) -> tuple[int, int]: ...
def apply_refiner(cfg_denoiser: CFGDenoiser, sigma: Tensor | None = None) -> bool: ...
def store_latent(decoded: Tensor) -> None: ...

# From 0 to 1, [image, channel, y, x]; the autoencoder draws from torch's own generator.
def images_tensor_to_samples(
    image: Tensor, approximation: int | None = None, model: WebuiSdModel | None = None
) -> Tensor: ...
def decode_first_stage(model: WebuiSdModel, x: Tensor) -> Tensor: ...
def sample_to_image(samples: Tensor, index: int = 0, approximation: int | None = None) -> Image: ...
def samples_to_image_grid(samples: Tensor, approximation: int | None = None) -> Image: ...
