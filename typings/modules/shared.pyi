# WebUI 1.10.1: modules/shared.py

from gradio import Blocks
from modules.options import OptionHTML as OptionHTML
from modules.options import OptionInfo as OptionInfo
from modules.options import Options
from modules.options import options_section as options_section
from modules.sd_models_types import WebuiSdModel
from modules.shared_state import State
from modules.styles import StyleDatabase

# Every flag is an attribute.
class _CommandLine:
    lowvram: bool
    medvram: bool
    medvram_sdxl: bool
    no_half: bool
    precision: str
    use_cpu: list[str]
    api: bool
    nowebui: bool
    # name:password, several with commas between.
    api_auth: str | None
    data_dir: str
    ui_config_file: str
    lora_dir: str  # set in extensions-builtin/Lora/preload.py
    clora_log_level: str  # set in preload.py

cmd_opts: _CommandLine
config_filename: str
opts: Options
state: State
prompt_styles: StyleDatabase
# Loads the model when it is asked for the first time.
sd_model: WebuiSdModel
loaded_hypernetworks: list[object]
# None before the page is made, and without one (--nowebui).
demo: Blocks | None
parallel_processing_allowed: bool
options_templates: dict[str, OptionInfo]
latent_upscale_modes: dict[str, dict[str, str | bool]]
tab_names: list[str]
