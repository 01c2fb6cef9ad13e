"""The layers of the published models, by diffusers' names, with their sizes and no numbers."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from bench.speed.models import SDXL

_UNETS: Mapping[str, Mapping[str, Any]] = {
    "sd1": {"cross_attention_dim": 768},
    "sd2": {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
    "sdxl": SDXL,
}
_CLIP = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
_TEXTS: Mapping[str, tuple[Mapping[str, int], ...]] = {
    "sd1": (_CLIP,),
    "sd2": ({"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 23},),
    "sdxl": (
        _CLIP,
        {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32},
    ),
}
KINDS = tuple(_UNETS)


@cache
def unet(kind: str) -> UNet2DConditionModel:
    """The UNet of a kind of model."""
    with torch.device("meta"):
        return UNet2DConditionModel(**_UNETS[kind])


@cache
def texts(kind: str) -> tuple[CLIPTextModel, ...]:
    """Its text encoders."""
    with torch.device("meta"):
        return tuple(CLIPTextModel(CLIPTextConfig(**sizes)) for sizes in _TEXTS[kind])


def text_layers(kind: str) -> Iterator[tuple[int, str, nn.Module]]:
    """Every attention and feed-forward layer of the text encoders: number of the encoder, name, layer."""
    for number, encoder in enumerate(texts(kind), 1):
        for name, layer in encoder.named_modules():
            if ".layers." in f".{name}" and isinstance(layer, nn.Linear):
                yield number, f"text_model.{name.removeprefix('text_model.')}", layer
