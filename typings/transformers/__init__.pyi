# The tools' transformers: transformers/__init__.py

from os import PathLike
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling
from typing_extensions import Self

class CLIPTextConfig:
    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[str], *, local_files_only: bool = False
    ) -> Self: ...

class CLIPTextModel(nn.Module):
    def __init__(self, config: CLIPTextConfig) -> None: ...
    def __call__(self, *, input_ids: Tensor) -> BaseModelOutputWithPooling: ...
    def forward(self, *, input_ids: Tensor | None = None) -> BaseModelOutputWithPooling: ...

class CLIPTokenizerFast:
    bos_token_id: int
    eos_token_id: int

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[str], *, local_files_only: bool = False
    ) -> Self: ...
    # ``input_ids`` and, where it is asked for, ``offset_mapping``: first and last character of every token.
    def __call__(
        self,
        text: str,
        *,
        add_special_tokens: bool = True,
        return_offsets_mapping: bool = False,
        verbose: bool = True,
    ) -> dict[str, Any]: ...
