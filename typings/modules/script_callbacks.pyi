# WebUI 1.10.1: modules/script_callbacks.py

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from gradio import Blocks
from gradio.blocks import Block
from modules.prompt_parser import DictWithShape
from modules.sd_models_types import WebuiSdModel
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from PIL.Image import Image
from torch import Tensor, nn

class ImageSaveParams:
    image: Image
    p: Any
    filename: str
    pnginfo: dict[str, str]

    def __init__(self, image: Image, p: Any, filename: str, pnginfo: dict[str, str]) -> None: ...

class BeforeTokenCounterParams:
    prompt: str
    steps: int
    styles: list[str]
    is_positive: bool

    def __init__(self, prompt: str, steps: int, styles: list[str], is_positive: bool = True) -> None: ...

class ExtraNoiseParams:
    noise: Tensor
    x: Tensor
    xi: Tensor

    def __init__(self, noise: Tensor, x: Tensor, xi: Tensor) -> None: ...

# The host reads x, image_cond, sigma, text_cond and text_uncond back. Its denoiser gives all arguments.
class CFGDenoiserParams:
    x: Tensor
    image_cond: Tensor
    sigma: Tensor
    sampling_step: int
    total_sampling_steps: int
    text_cond: Tensor | DictWithShape
    text_uncond: Tensor | DictWithShape
    denoiser: CFGDenoiser

    def __init__(
        self,
        x: Tensor,
        image_cond: Tensor,
        sigma: Tensor,
        sampling_step: int,
        total_sampling_steps: int,
        text_cond: Tensor | DictWithShape,
        text_uncond: Tensor | DictWithShape,
        denoiser: CFGDenoiser,
    ) -> None: ...

# The host reads nothing back: x is changed in place.
class CFGDenoisedParams:
    x: Tensor
    sampling_step: int
    total_sampling_steps: int
    inner_model: nn.Module

    def __init__(self, x: Tensor, sampling_step: int, total_sampling_steps: int, inner_model: nn.Module) -> None: ...

# The host reads x back.
class AfterCFGCallbackParams:
    x: Tensor
    sampling_step: int
    total_sampling_steps: int

    def __init__(self, x: Tensor, sampling_step: int, total_sampling_steps: int) -> None: ...

class ScriptCallback:
    script: str
    callback: Callable[..., Any]
    name: str

    def __init__(self, script: str, callback: Callable[..., Any], name: str = "unnamed") -> None: ...

callback_map: dict[str, list[ScriptCallback]]
ordered_callbacks_map: dict[str, list[ScriptCallback]]

def remove_callbacks_for_function(callback_func: Callable[..., Any]) -> None: ...
def remove_current_script_callbacks() -> None: ...

# Without a page (--nowebui) there are no Blocks.
def on_app_started(callback: Callable[[Blocks | None, FastAPI], object], *, name: str | None = None) -> None: ...
def on_before_reload(callback: Callable[[], object], *, name: str | None = None) -> None: ...
def on_model_loaded(callback: Callable[[WebuiSdModel], object], *, name: str | None = None) -> None: ...
def on_ui_tabs(callback: Callable[[], list[tuple[Block, str, str]] | None], *, name: str | None = None) -> None: ...
def on_ui_settings(callback: Callable[[], object], *, name: str | None = None) -> None: ...
def on_before_ui(callback: Callable[[], object], *, name: str | None = None) -> None: ...
def on_before_image_saved(callback: Callable[[ImageSaveParams], object], *, name: str | None = None) -> None: ...
def on_image_saved(callback: Callable[[ImageSaveParams], object], *, name: str | None = None) -> None: ...
def on_extra_noise(callback: Callable[[ExtraNoiseParams], object], *, name: str | None = None) -> None: ...
def on_cfg_denoiser(callback: Callable[[CFGDenoiserParams], object], *, name: str | None = None) -> None: ...
def on_cfg_denoised(callback: Callable[[CFGDenoisedParams], object], *, name: str | None = None) -> None: ...
def on_cfg_after_cfg(callback: Callable[[AfterCFGCallbackParams], object], *, name: str | None = None) -> None: ...
def on_infotext_pasted(callback: Callable[[str, dict[str, Any]], object], *, name: str | None = None) -> None: ...
def on_script_unloaded(callback: Callable[[], object], *, name: str | None = None) -> None: ...
def before_token_counter_callback(params: BeforeTokenCounterParams) -> None: ...
