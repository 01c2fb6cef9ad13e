"""Writes the tiny world as one file in the SD1 (ldm) layout with its configuration."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from .model import LDM_CONFIG

_UNET_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _resnet(rest: str, names: Mapping[str, str]) -> str:
    part, _, leaf = rest.rpartition(".")
    return f"{names[part]}.{leaf}"


def unet_name(name: str, per_level: int = 2, levels: int = 4, attention: Collection[int] = (0, 1, 2)) -> str:
    """The ldm name (without `model.diffusion_model.`) of a parameter of diffusers' UNet.

    per_level: ResBlocks per level; attention: which of the `levels` have some. Raises KeyError for a name that an
    SD1-like UNet does not have.
    """
    part, _, leaf = name.rpartition(".")
    if part in _UNET_TOP:
        return f"{_UNET_TOP[part]}.{leaf}"
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        kind, index, rest = match[1], int(match[2]), match[3]
        return (
            f"middle_block.{2 * index}.{_resnet(rest, _UNET_RESNET)}" if kind == "resnets" else f"middle_block.1.{rest}"
        )
    match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", name)
    if match is None:
        raise KeyError(f"{name} is no parameter of an SD1-like UNet.")
    side, level, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    block = level * (per_level + 1) + index
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (per_level + 1)}.0.op.{leaf}"
        stem = f"input_blocks.{1 + block}"
    else:
        if kind == "upsamplers":
            place = 2 if levels - 1 - level in attention else 1
            return f"output_blocks.{level * (per_level + 1) + per_level}.{place}.conv.{leaf}"
        stem = f"output_blocks.{block}"
    return f"{stem}.0.{_resnet(rest, _UNET_RESNET)}" if kind == "resnets" else f"{stem}.1.{rest}"


def vae_name(name: str, levels: int = 4) -> str:
    """The ldm name (without `first_stage_model.`) of a parameter of diffusers' AutoencoderKL."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if match := re.fullmatch(r"(.+)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)", name):
        return f"{match[1]}.mid.attn_1.{_VAE_ATTENTION[match[2]]}.{match[3]}"
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}", name)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)


def vae_state(vae: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The autoencoder's weights under their names in a checkpoint; its attention gets ldm's 1x1-convolution shapes."""
    state = {}
    for name, tensor in vae.items():
        target = vae_name(name)
        is_projection = ".attn_1." in target and tensor.ndim == 2
        state[f"first_stage_model.{target}"] = tensor[:, :, None, None] if is_projection else tensor
    return state


def ldm_state(unet: Mapping[str, Tensor], vae: Mapping[str, Tensor], text: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dictionaries of the three networks under their names in an SD1 checkpoint, floats as float16.

    position_ids int64 [1, 77] is there as in SD1's file.
    """
    params = LDM_CONFIG["model"]["params"]["unet_config"]["params"]
    per_level, levels = params["num_res_blocks"], len(params["channel_mult"])
    attention = range(len(params["attention_resolutions"]))
    state = {
        f"model.diffusion_model.{unet_name(name, per_level, levels, attention)}": tensor
        for name, tensor in unet.items()
    }
    state |= vae_state(vae)
    for name, tensor in text.items():
        if not name.endswith("position_ids"):
            state[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    state = {name: tensor.detach().cpu().half().contiguous() for name, tensor in state.items()}
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return state


def export(
    folder: Path, unet: Mapping[str, Tensor], vae: Mapping[str, Tensor], text: Mapping[str, Tensor], note: str = ""
) -> None:
    """Writes tiny-world.safetensors and tiny-world.yaml to the folder. Raises ValueError if a weight is not finite."""
    state = ldm_state(unet, vae, text)
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} is not finite in float16: train again with a lower learning rate.")
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", "modelspec.title": "tiny world", "modelspec.architecture": "stable-diffusion-v1"}
    if note:
        metadata["modelspec.description"] = note
    save_file(state, folder / "tiny-world.safetensors", metadata=metadata)
    text_of_config = yaml.safe_dump(LDM_CONFIG, sort_keys=False, default_flow_style=None)
    (folder / "tiny-world.safetensors").chmod(0o644)
    (folder / "tiny-world.yaml").write_text(text_of_config, encoding="utf-8")
