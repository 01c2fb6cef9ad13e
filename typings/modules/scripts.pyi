# WebUI 1.10.1: modules/scripts.py

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from gradio import Group
from gradio.blocks import Block
from gradio.components import Component
from modules.processing import Processed, StableDiffusionProcessing
from modules.script_callbacks import ScriptCallback
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from PIL.Image import Image
from torch import Tensor

# What ``show`` gives for a script that is always on.
AlwaysVisible: object

class MaskBlendArgs:
    current_latent: Tensor
    nmask: Tensor
    init_latent: Tensor
    mask: Tensor
    blended_latent: Tensor
    # None for the last blend, after sampling.
    denoiser: CFGDenoiser | None
    is_final_blend: bool
    sigma: Tensor | None

class PostSampleArgs:
    # The latents; decoded pictures after hires. fix.
    samples: Tensor | list[Tensor]

class PostprocessImageArgs:
    image: Image

class PostprocessBatchListArgs:
    images: list[Tensor]

class OnComponent:
    component: Block

class Script:
    name: str | None
    section: str | None
    filename: str | None
    args_from: int | None
    args_to: int | None
    alwayson: bool
    is_txt2img: bool
    is_img2img: bool
    tabname: str | None
    group: Group | None
    create_group: bool
    # Pairs of a component and a key of infotexts, or a function of an infotext's values.
    infotext_fields: list[tuple[Component, str | Callable[[dict[str, str]], object]]] | None
    # Names of infotext fields, or the functions that read them.
    paste_field_names: list[str | Callable[[dict[str, str]], Any]] | None
    setup_for_ui_only: bool
    controls: list[Component] | None

    def title(self) -> str: ...
    def ui(self, is_img2img: bool) -> list[Component] | None: ...
    # False, True, or ``AlwaysVisible``.
    def show(self, is_img2img: bool) -> object: ...
    def elem_id(self, item_id: str) -> str: ...
    def on_before_component(self, callback: Callable[[OnComponent], object], *, elem_id: str) -> None: ...
    def on_after_component(self, callback: Callable[[OnComponent], object], *, elem_id: str) -> None: ...
    def run(self, p: StableDiffusionProcessing, *args: Any) -> Processed | None: ...
    def setup(self, p: StableDiffusionProcessing, *args: Any) -> None: ...
    def before_process(self, p: StableDiffusionProcessing, *args: Any) -> None: ...
    def process(self, p: StableDiffusionProcessing, *args: Any) -> None: ...
    def before_process_batch(self, p: StableDiffusionProcessing, *args: Any, **kwargs: Any) -> None: ...
    def after_extra_networks_activate(self, p: StableDiffusionProcessing, *args: Any, **kwargs: Any) -> None: ...
    # With x, noise, c and uc by name.
    def process_before_every_sampling(self, p: StableDiffusionProcessing, *args: Any, **kwargs: Any) -> None: ...
    def process_batch(self, p: StableDiffusionProcessing, *args: Any, **kwargs: Any) -> None: ...
    def before_hr(self, p: StableDiffusionProcessing, *args: Any) -> None: ...
    def on_mask_blend(self, p: StableDiffusionProcessing, mba: MaskBlendArgs, *args: Any) -> None: ...
    def post_sample(self, p: StableDiffusionProcessing, ps: PostSampleArgs, *args: Any) -> None: ...
    def postprocess_batch(self, p: StableDiffusionProcessing, *args: Any, **kwargs: Any) -> None: ...
    def postprocess_batch_list(
        self, p: StableDiffusionProcessing, pp: PostprocessBatchListArgs, *args: Any, **kwargs: Any
    ) -> None: ...
    def postprocess_image(self, p: StableDiffusionProcessing, pp: PostprocessImageArgs, *args: Any) -> None: ...
    def postprocess(self, p: StableDiffusionProcessing, processed: Processed, *args: Any) -> None: ...

class ScriptRunner:
    scripts: list[Script]
    selectable_scripts: list[Script]
    alwayson_scripts: list[Script]
    titles: list[str]
    title_map: dict[str, Script]
    infotext_fields: list[tuple[Component, str | Callable[[dict[str, str]], object]]]

    def script(self, title: str) -> Script | None: ...
    def postprocess(self, p: StableDiffusionProcessing, processed: Processed) -> None: ...
    # The host's own list, which it keeps.
    def ordered_callbacks(self, method_name: str, *, enable_user_sort: bool = True) -> list[ScriptCallback]: ...

class ScriptClassData(NamedTuple):
    script_class: type[Script]
    path: str
    basedir: str
    module: ModuleType

scripts_data: list[ScriptClassData]
scripts_txt2img: ScriptRunner
scripts_img2img: ScriptRunner
# The tab whose page is being made; None at all other times.
scripts_current: ScriptRunner | None

def basedir() -> str: ...
