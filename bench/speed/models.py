"""The UNets that are measured, with random weights or none at all, and LoRAs on them."""

from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from clora_ext.lora.deltas import LowRank
from tiny_world.model import unet_config


@dataclass(frozen=True, slots=True)
class Shape:
    """A UNet's configuration in diffusers' terms and the size, in pixels, at which it is used."""

    pixels: int
    config: dict[str, Any]

    @property
    def context(self) -> int:
        """Width of the text encoder's output."""
        return self.config["cross_attention_dim"]

    @property
    def levels(self) -> tuple[int, ...]:
        """Downsampling factors of the cross-attention layers in the order in which a forward meets them."""
        down = [2**level for level, kind in enumerate(self.config["down_block_types"]) if kind.startswith("Cross")]
        return (*down, 2 ** (len(self.config["down_block_types"]) - 1), *reversed(down))


class Scout(nn.Module):
    """One cross-attention layer per level of a UNet and nothing else: takes the same decisions at little cost."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.config = SimpleNamespace(addition_embed_type=None, cross_attention_dim=8)
        self.down_blocks = nn.ModuleList()
        with torch.device("meta"):
            self.conv_in = nn.Conv2d(4, 8, 1)
            for before, factor in pairwise((1, *shape.levels, 1)):
                self.down_blocks.extend(_resizing(before, factor))
                self.down_blocks.append(nn.ModuleDict({"attn2": Attention(8, 8, heads=1, dim_head=8)}))
            del self.down_blocks[-1]
        self.device = torch.device("meta")

    def forward(self, sample: Tensor, time: int, encoder_hidden_states: Tensor) -> SimpleNamespace:
        """The maps that the real one has, at the same sizes in the same order."""
        x = self.conv_in(sample)
        for block in self.down_blocks:
            if isinstance(block, nn.ModuleDict):
                pixels = block["attn2"](x.flatten(2).transpose(1, 2), encoder_hidden_states=encoder_hidden_states)
                x = x + pixels.transpose(1, 2).view_as(x)
            else:
                x = block(x)
        return SimpleNamespace(sample=x[:, :4])


def _resizing(before: int, after: int) -> list[nn.Module]:
    """What leads from a picture ``before`` times smaller than the latent to one ``after`` times smaller."""
    if after >= before:
        return [nn.Conv2d(8, 8, 1, stride=2) for _ in range((after // before).bit_length() - 1)]
    return [nn.Upsample(scale_factor=2.0) for _ in range((before // after).bit_length() - 1)]


SD15 = {
    "sample_size": 64,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SDXL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
MODELS: dict[str, Shape] = {
    "sd15": Shape(512, SD15),
    "sdxl": Shape(1024, SDXL),
    "tiny": Shape(128, unet_config()),
}
_NARROW = {"sample_size": 16, "norm_num_groups": 4, "cross_attention_dim": 8}
HOLLOW: dict[str, Shape] = {
    "sd15": Shape(128, {**SD15, **_NARROW, "block_out_channels": (8, 16, 32, 32), "attention_head_dim": 1}),
    "sdxl": Shape(
        128,
        {
            **SDXL,
            **_NARROW,
            "block_out_channels": (8, 16, 32),
            "attention_head_dim": 1,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 56,
        },
    ),
}
"""All modules of SD1.5 and SDXL, so narrow that next to nothing is computed: what is left is what Python does."""


def unet(config: dict[str, Any], device: str, dtype: torch.dtype, seed: int = 0) -> UNet2DConditionModel:
    """A UNet in evaluation mode; on ``meta`` without weights, elsewhere with random ones."""
    with torch.device("meta"):
        made = nn.Module.to(UNet2DConditionModel(**config), dtype).eval().requires_grad_(False)
    if device == "meta":
        return made
    made = made.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for layer in made.modules():
            for name, tensor in layer.named_parameters(recurse=False):
                _fill(tensor, generator, ones=name == "weight" and isinstance(layer, nn.GroupNorm | nn.LayerNorm))
    return made


def _fill(tensor: Tensor, generator: torch.Generator, *, ones: bool) -> None:
    """Weights that keep activations near unit size."""
    if ones or tensor.dim() < 2:
        tensor.fill_(1.0 if ones else 0.0)
    else:
        tensor.normal_(0.0, tensor[0].numel() ** -0.5, generator=generator)


def loras(network: nn.Module, count: int, rank: int, *, as_kohya: bool = False) -> dict[str, dict[nn.Module, LowRank]]:
    """``count`` LoRAs of ``rank`` on all linear layers of the transformer blocks, called ``L1`` and so on.

    ``as_kohya``: on what stands before and behind these blocks too, as kohya's trainer writes LoRAs; in SD1.5 these
    are convolutions of one pixel.
    """
    layers = [layer for name, layer in network.named_modules() if _is_adapted(name, layer, as_kohya)]
    return {f"L{number}": {layer: _low_rank(layer, rank) for layer in layers} for number in range(1, count + 1)}


def _is_adapted(name: str, layer: nn.Module, as_kohya: bool) -> bool:
    inside = isinstance(layer, nn.Linear) and "transformer_blocks" in name
    return inside or (as_kohya and name.endswith(("proj_in", "proj_out")))


def _low_rank(layer: nn.Module, rank: int) -> LowRank:
    weight = layer.weight
    like = {"device": weight.device, "dtype": weight.dtype}
    ones = [1] * (weight.dim() - 2)
    out, inputs = weight.shape[:2]
    down = torch.randn(rank, inputs, *ones, **like) * inputs**-0.5
    up = torch.randn(out, rank, *ones, **like) * rank**-0.5
    return LowRank(down, up, 0.05)
