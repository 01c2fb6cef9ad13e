# The tools' diffusers: diffusers/loaders/single_file_model.py

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

class FromOriginalModelMixin:
    @classmethod
    def from_single_file(
        cls,
        pretrained_model_link_or_path_or_dict: str | Mapping[str, Tensor] | None = None,
        *,
        original_config: Mapping[str, Any] | None = None,
        torch_dtype: torch.dtype | None = None,
    ) -> Self: ...
