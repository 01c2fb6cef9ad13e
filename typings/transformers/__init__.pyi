# The tools' transformers: transformers/__init__.py

from os import PathLike
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPTextModelOutput
from typing_extensions import Self

class CLIPTextConfig:
    def __init__(
        self,
        *,
        vocab_size: int = 49408,
        hidden_size: int = 512,
        intermediate_size: int = 2048,
        projection_dim: int | None = 512,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 8,
        hidden_act: str = "quick_gelu",
        bos_token_id: int | None = 49406,
        eos_token_id: int | list[int] | None = 49407,
    ) -> None: ...
    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[str], *, local_files_only: bool = False
    ) -> Self: ...

class CLIPTextModel(nn.Module):
    def __init__(self, config: CLIPTextConfig) -> None: ...
    def __call__(self, *, input_ids: Tensor, output_hidden_states: bool = False) -> BaseModelOutputWithPooling: ...
    def forward(self, *, input_ids: Tensor | None = None) -> BaseModelOutputWithPooling: ...

class CLIPTextModelWithProjection(nn.Module):
    text_projection: nn.Linear

    def __init__(self, config: CLIPTextConfig) -> None: ...
    def __call__(self, *, input_ids: Tensor, output_hidden_states: bool = False) -> CLIPTextModelOutput: ...
    def forward(self, *, input_ids: Tensor | None = None) -> CLIPTextModelOutput: ...

class CLIPTokenizerFast:
    bos_token_id: int
    eos_token_id: int

    def __init__(self, vocab: dict[str, int] | None = None, merges: list[tuple[str, ...]] | None = None) -> None: ...
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
