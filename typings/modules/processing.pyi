# WebUI 1.10.1: modules/processing.py
#
# Fields that a job has only later are typed as they are from then on: ``all_*`` and what is read from settings when
# the scripts' ``process`` is called; ``prompts``, ``seeds`` and ``extra_network_data`` in
# ``after_extra_networks_activate``; ``c``, ``uc`` and ``firstpass_steps`` in ``process_before_every_sampling``.

from collections.abc import Callable
from typing import Any

from modules.extra_networks import ExtraNetworkParams
from modules.prompt_parser import MulticondLearnedConditioning, ScheduledPromptConditioning
from modules.rng import ImageRNG
from modules.scripts import ScriptRunner
from modules.sd_models import CheckpointInfo
from modules.sd_models_types import WebuiSdModel
from modules.sd_samplers_common import Sampler
from PIL.Image import Image
from torch import Tensor

def program_version() -> str | None: ...

_Cond = MulticondLearnedConditioning
_Uncond = list[list[ScheduledPromptConditioning]]

opt_C: int
opt_f: int

# What a model has beside the text for a picture made of noise; sizes in pixels.
def txt2img_image_conditioning(sd_model: WebuiSdModel, x: Tensor, width: int, height: int) -> Tensor: ...

class StableDiffusionProcessing:
    outpath_samples: str
    outpath_grids: str
    prompt: str
    negative_prompt: str
    styles: list[str]
    seed: int
    subseed: int
    subseed_strength: float
    seed_resize_from_h: int
    seed_resize_from_w: int
    sampler_name: str
    scheduler: str
    batch_size: int
    n_iter: int
    steps: int
    cfg_scale: float
    width: int
    height: int
    restore_faces: bool
    tiling: bool
    do_not_save_samples: bool
    do_not_save_grid: bool
    # A value, a list with one for each picture, or a function of all that infotexts are made of.
    extra_generation_params: dict[str, Any]
    overlay_images: list[Image] | None
    eta: float | None
    denoising_strength: float | None
    s_min_uncond: float
    s_churn: float
    s_tmax: float
    s_tmin: float
    s_noise: float
    override_settings: dict[str, Any]
    override_settings_restore_afterwards: bool
    refiner_checkpoint: str | None
    refiner_checkpoint_info: CheckpointInfo | None
    refiner_switch_at: float | None
    token_merging_ratio: float
    token_merging_ratio_hr: float
    disable_extra_networks: bool
    firstpass_image: Image | None
    # Notes for the page, as keys.
    comments: dict[str, int]
    # None before the first sampling and after the second pass of hires. fix; img2img makes it before its batches.
    sampler: Sampler | None
    is_using_inpainting_conditioning: bool
    paste_to: tuple[int, int, int, int] | None
    is_hr_pass: bool
    c: _Cond
    uc: _Uncond
    rng: ImageRNG
    step_multiplier: int
    # Calls of the model in the first pass, as the sampler counts them: twice the steps for one of second order.
    firstpass_steps: int
    all_prompts: list[str]
    all_negative_prompts: list[str]
    all_seeds: list[int]
    all_subseeds: list[int]
    iteration: int
    batch_index: int  # set in modules/processing.py
    main_prompt: str
    main_negative_prompt: str
    prompts: list[str]
    negative_prompts: list[str]
    seeds: list[int]
    subseeds: list[int]
    extra_network_data: dict[str, list[ExtraNetworkParams]]
    sampler_noise_scheduler_override: Callable[[int], Tensor] | None
    user: str | None
    is_api: bool

    @property
    def sd_model(self) -> WebuiSdModel: ...
    @property
    def scripts(self) -> ScriptRunner | None: ...
    @scripts.setter
    def scripts(self, value: ScriptRunner | None) -> None: ...
    @property
    def script_args(self) -> list[Any] | tuple[Any, ...]: ...
    @script_args.setter
    def script_args(self, value: list[Any] | tuple[Any, ...]) -> None: ...
    def comment(self, text: str) -> None: ...
    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None: ...
    # The latents; decoded pictures (``DecodedSamples``) after hires. fix.
    def sample(
        self,
        conditioning: _Cond,
        unconditional_conditioning: _Uncond,
        seeds: list[int],
        subseeds: list[int],
        subseed_strength: float,
        prompts: list[str],
    ) -> Tensor | DecodedSamples: ...
    def close(self) -> None: ...
    def setup_prompts(self) -> None: ...
    def setup_conds(self) -> None: ...
    def get_conds(self) -> tuple[_Cond, _Uncond]: ...
    def parse_extra_network_prompts(self) -> None: ...
    def get_token_merging_ratio(self, for_hr: bool = False) -> float: ...
    def save_samples(self) -> bool: ...

class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    enable_hr: bool
    denoising_strength: float
    hr_scale: float
    hr_upscaler: str | None
    hr_second_pass_steps: int
    hr_resize_x: int
    hr_resize_y: int
    hr_checkpoint_name: str | None
    hr_checkpoint_info: CheckpointInfo | None
    hr_sampler_name: str | None
    hr_scheduler: str | None
    hr_prompt: str
    hr_negative_prompt: str
    hr_upscale_to_x: int
    hr_upscale_to_y: int
    truncate_x: int
    truncate_y: int
    # How a latent is scaled up; None for an upscaler of pictures.
    latent_scale_mode: dict[str, Any] | None
    hr_c: _Cond | None
    hr_uc: _Uncond | None
    all_hr_prompts: list[str]
    all_hr_negative_prompts: list[str]
    hr_prompts: list[str]
    hr_negative_prompts: list[str]
    hr_extra_network_data: dict[str, list[ExtraNetworkParams]]

    def calculate_target_resolution(self) -> None: ...
    def calculate_hr_conds(self) -> None: ...
    def sample_hr_pass(
        self,
        samples: Tensor | None,
        decoded_samples: Tensor | None,
        seeds: list[int],
        subseeds: list[int],
        subseed_strength: float,
        prompts: list[str],
    ) -> Tensor | DecodedSamples: ...

class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images: list[Image]
    resize_mode: int
    denoising_strength: float
    image_cfg_scale: float | None
    # Where to paint, as given; ``mask`` and ``nmask`` are made of it at the size of the latent.
    image_mask: Image | None
    mask: Tensor | None
    nmask: Tensor | None
    mask_blur_x: int
    mask_blur_y: int
    mask_round: bool
    inpainting_fill: int
    inpaint_full_res: bool
    inpaint_full_res_padding: int
    inpainting_mask_invert: int
    initial_noise_multiplier: float
    latent_mask: Image | None
    mask_for_overlay: Image | None
    image_conditioning: Tensor
    init_latent: Tensor

class Processed:
    images: list[Image]
    prompt: str
    negative_prompt: str
    seed: int
    subseed: int
    info: str
    comments: str
    width: int
    height: int
    sampler_name: str
    cfg_scale: float
    steps: int
    batch_size: int
    extra_generation_params: dict[str, Any]
    # 1 where a grid stands before the pictures.
    index_of_first_image: int
    all_prompts: list[str]
    all_negative_prompts: list[str]
    all_seeds: list[int]
    all_subseeds: list[int]
    infotexts: list[str]

    def __init__(
        self,
        p: StableDiffusionProcessing,
        images_list: list[Image],
        seed: int = -1,
        info: str = "",
        subseed: int | None = None,
        all_prompts: list[str] | None = None,
        all_negative_prompts: list[str] | None = None,
        all_seeds: list[int] | None = None,
        all_subseeds: list[int] | None = None,
        index_of_first_image: int = 0,
        infotexts: list[str] | None = None,
        comments: str = "",
    ) -> None: ...
    def js(self) -> str: ...
    def infotext(self, p: StableDiffusionProcessing, index: int) -> str: ...

class DecodedSamples(list[Tensor]):
    already_decoded: bool

def create_infotext(
    p: StableDiffusionProcessing,
    all_prompts: list[str],
    all_seeds: list[int],
    all_subseeds: list[int],
    comments: list[str] | None = None,
    iteration: int = 0,
    position_in_batch: int = 0,
    use_main_prompt: bool = False,
    index: int | None = None,
    all_negative_prompts: list[str] | None = None,
) -> str: ...
def process_images(p: StableDiffusionProcessing) -> Processed: ...
