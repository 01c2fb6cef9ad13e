# The tools' diffusers: diffusers/loaders/single_file_utils.py

from collections.abc import Mapping

from torch import Tensor

def convert_ldm_clip_checkpoint(
    checkpoint: Mapping[str, Tensor], remove_prefix: str | None = None
) -> dict[str, Tensor]: ...
