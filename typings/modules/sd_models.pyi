# WebUI 1.10.1: modules/sd_models.py

from typing import Any

from modules.sd_models_types import WebuiSdModel

class CheckpointInfo:
    filename: str
    is_safetensors: bool
    metadata: dict[str, Any]
    name: str
    name_for_extra: str
    model_name: str
    hash: str
    sha256: str | None
    shorthash: str | None
    title: str
    short_title: str
    ids: list[str]

    def __init__(self, filename: str) -> None: ...

class SdModelData:
    # None before a model is loaded, and after loading has failed.
    sd_model: WebuiSdModel | None
    loaded_sd_models: list[WebuiSdModel]
    was_loaded_at_least_once: bool

    def get_sd_model(self) -> WebuiSdModel | None: ...
    def set_sd_model(self, v: WebuiSdModel | None, already_loaded: bool = False) -> None: ...

model_data: SdModelData
checkpoints_list: dict[str, CheckpointInfo]
checkpoint_aliases: dict[str, CheckpointInfo]

def read_state_dict(
    checkpoint_file: str, print_global_state: bool = False, map_location: Any = None
) -> dict[str, Any]: ...
def get_closet_checkpoint_match(search_string: str | None) -> CheckpointInfo | None: ...
def reload_model_weights(
    sd_model: WebuiSdModel | None = None, info: CheckpointInfo | None = None, forced_reload: bool = False
) -> WebuiSdModel | None: ...
def apply_token_merging(sd_model: WebuiSdModel, token_merging_ratio: float) -> None: ...

# With a job, it is told what was done.
def apply_alpha_schedule_override(sd_model: WebuiSdModel, p: Any = None) -> None: ...
