"""The layers of the loaded model by the names that a merged file has for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from clora_ext.core.maps import Grid
from clora_ext.errors import HostError
from clora_ext.hosts.webui.drive.families import PLAIN_CHANNELS
from clora_ext.hosts.webui.merge.attention import SplitAttention
from clora_ext.lora.layers import text_layers, unet_layers
from clora_ext.merge.naming import written_name

_XL_SIZE = 1024
"""Pixels of a side of SDXL, whose yaml does not say."""


@dataclass(frozen=True, slots=True)
class ModelLayers:
    """The layers that a LoRA for the model may change."""

    modules: Mapping[str, nn.Module]
    tokens_first: frozenset[str]
    """Those of OpenCLIP's encoder, whose inputs are [token, text, width]."""
    attentions: tuple[SplitAttention, ...]
    """Whose projections are among them."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """The layers' own by name, wherever the host keeps them."""
        return {name: _own_weight(layer) for name, layer in self.modules.items()}


def own_size(model: Any) -> Grid:
    """Height and width in pixels of the pictures that the host's ``model`` was trained on."""
    side = 8 * getattr(model, "image_size", _XL_SIZE // 8)
    return side, side


def _own_weight(layer: nn.Module) -> Tensor:
    """A layer's weight; what fp8 has been made of, where the host keeps that."""
    kept = getattr(layer, "fp16_weight", None)
    return cast(Tensor, layer.weight if kept is None else kept).detach()


def model_layers(model: Any) -> ModelLayers:
    """Those of the host's ``model``. Raises ``HostError`` for text encoders that no LoRA is made for."""
    unet = unet_layers(model.model.diffusion_model)
    written = {written_name(name, is_xl=model.is_sdxl): layer for name, layer in unet.items()}
    found = written if model.model.diffusion_model.in_channels == PLAIN_CHANNELS else _without_first(written)
    attentions: list[SplitAttention] = []
    encoders: list[nn.Module] = []
    opened: set[nn.Module] = set()
    for encoder in _encoders(model):
        if hasattr(encoder, "transformer"):
            encoders.append(encoder.transformer)
        elif hasattr(encoder, "model"):
            unused = 0 if model.is_sdxl else encoder.layer_idx  # SDXL's pooled vector needs the last block too
            encoders.append(_as_clip(encoder.model, unused, attentions))
            opened |= set(encoders[-1].modules())
        else:
            raise HostError("LoRAs are merged on checkpoints that read texts by CLIP or OpenCLIP; load one of those.")
    text = text_layers(encoders)
    tokens_first = frozenset(name for name, layer in text.items() if layer in opened)
    return ModelLayers(found | text, tokens_first, tuple(attentions))


def _without_first(layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The first convolution of an inpainting model is not what a LoRA of four channels changes."""
    return {name: layer for name, layer in layers.items() if name not in _FIRST}


_FIRST = {written_name("lora_unet_conv_in", is_xl=is_xl) for is_xl in (False, True)}


def _encoders(model: Any) -> list[Any]:
    """The checkpoint's own encoders, without the host's wrappers and without what embeds SDXL's sizes."""
    whole = model.cond_stage_model
    parts = getattr(whole, "embedders", [whole])
    return [part.wrapped for part in parts if hasattr(part, "wrapped")]


def _as_clip(model: Any, unused: int, attentions: list[SplitAttention]) -> nn.Module:
    """OpenCLIP's layers where transformers' CLIP has them, but for ``unused`` last blocks.

    Norms are left out: the host reads a LoRA for them by no name.
    """
    blocks = model.transformer.resblocks
    layers = nn.ModuleList()
    for block in blocks[: len(blocks) - unused]:
        attention = SplitAttention(block.attn)
        attentions.append(attention)
        mlp = nn.ModuleDict({"fc1": block.mlp.c_fc, "fc2": block.mlp.c_proj})
        layers.append(nn.ModuleDict({"self_attn": nn.ModuleDict(attention.layers), "mlp": mlp}))
    return nn.ModuleDict({"text_model": nn.ModuleDict({"encoder": nn.ModuleDict({"layers": layers})})})
