# WebUI 1.10.1: modules/options.py

from collections.abc import Callable
from typing import Any

_Section = tuple[str | None, str] | tuple[str | None, str, str]

class OptionInfo:
    default: Any
    label: str
    component: Callable[..., object] | None
    component_args: dict[str, Any] | Callable[[], dict[str, Any]] | None
    onchange: Callable[[], object] | None
    section: _Section | None
    category_id: str | None
    do_not_save: bool
    comment_before: str
    comment_after: str
    infotext: str | None
    restrict_api: bool

    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Callable[..., object] | None = None,
        component_args: dict[str, Any] | Callable[[], dict[str, Any]] | None = None,
        onchange: Callable[[], object] | None = None,
        section: _Section | None = None,
        refresh: Callable[[], object] | None = None,
        comment_before: str = "",
        comment_after: str = "",
        infotext: str | None = None,
        restrict_api: bool = False,
        category_id: str | None = None,
    ) -> None: ...
    def link(self, label: str, url: str) -> OptionInfo: ...
    def info(self, info: str) -> OptionInfo: ...
    def html(self, html: str) -> OptionInfo: ...
    def needs_restart(self) -> OptionInfo: ...
    def needs_reload_ui(self) -> OptionInfo: ...

class OptionHTML(OptionInfo):
    def __init__(self, text: str) -> None: ...

# Every setting is an attribute; those of extensions that may be disabled are read with ``getattr`` and a default.
class Options:
    data: dict[str, Any]
    data_labels: dict[str, OptionInfo]

    # settings that are part of the program (modules/shared_options.py)
    samples_save: bool
    img2img_background_color: str
    samples_format: str
    show_progress_grid: bool
    show_progress_every_n_steps: int
    live_previews_enable: bool
    live_preview_content: str
    sd_unet: str
    emphasis: str
    CLIP_stop_at_last_layers: int
    comma_padding_backtrack: int
    sdxl_crop_top: int
    sdxl_crop_left: int
    use_old_emphasis_implementation: bool
    use_old_scheduling: bool
    s_min_uncond: float
    s_min_uncond_all: bool
    token_merging_ratio: float
    token_merging_ratio_img2img: float
    token_merging_ratio_hr: float
    pad_cond_uncond: bool
    pad_cond_uncond_v0: bool
    batch_cond_uncond: bool
    persistent_cond_cache: bool
    skip_early_cond: float
    fp8_storage: str
    img2img_fix_steps: bool
    img2img_extra_noise: float
    initial_noise_multiplier: float
    hires_fix_use_firstpass_conds: bool
    hires_fix_refiner_pass: str
    extra_networks_default_multiplier: float
    infotext_skip_pasting: list[str]

    # settings of the built-in extension Lora, without which nothing here runs (extensions-builtin/Lora)
    sd_lora: str
    lora_functional: bool
    lora_preferred_name: str
    lora_in_memory_limit: int

    def add_option(self, key: str, info: OptionInfo) -> None: ...
    def onchange(self, key: str, func: Callable[[], object], call: bool = True) -> None: ...
    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool: ...
    def get_default(self, key: str) -> Any: ...
    def save(self, filename: str) -> None: ...

def options_section(section_identifier: _Section, options_dict: dict[str, OptionInfo]) -> dict[str, OptionInfo]: ...
