# The tools' diffusers: diffusers/loaders/single_file_utils.py

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

def convert_ldm_clip_checkpoint(
    checkpoint: Mapping[str, Tensor], remove_prefix: str | None = None
) -> dict[str, Tensor]: ...
def convert_open_clip_checkpoint(
    text_model: nn.Module, checkpoint: Mapping[str, Tensor], prefix: str = "cond_stage_model.model."
) -> dict[str, Tensor]: ...
def convert_ldm_unet_checkpoint(
    checkpoint: Mapping[str, Tensor], config: Mapping[str, Any], extract_ema: bool = False
) -> dict[str, Tensor]: ...
def create_unet_diffusers_config_from_ldm(
    original_config: Mapping[str, Any], checkpoint: Mapping[str, Tensor]
) -> dict[str, Any]: ...
