"""diffusers' names of weights in ldm's, sgm's and OpenCLIP's words; written down apart from diffusers' own conversion.

For UNets of three levels with two ResNets each, and autoencoders of four.
"""

import re

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_MIDDLE = {"resnets.0": "middle_block.0", "attentions.0": "middle_block.1", "resnets.1": "middle_block.2"}


def ldm_layer(layer: str) -> str:
    """What ldm and sgm call a layer of ``_unet``."""
    if layer in _ENDS:
        return _ENDS[layer]
    side, _, rest = layer.partition("_block")
    if side == "mid":
        _, part, number, inner = rest.split(".", 3)
        return f"{_MIDDLE[f'{part}.{number}']}.{_inner(part, inner)}"
    _, level, part, number, inner = rest.split(".", 4)
    first = 3 * int(level)
    if part == "downsamplers":
        return f"input_blocks.{first + 3}.0.op"
    if part == "upsamplers":
        has_attention = int(level) < 2  # of ``write_xl`` at its lower levels; ``write_sd2`` corrects it
        return f"output_blocks.{first + 2}.{2 if has_attention else 1}.conv"
    place = first + int(number) + (side == "down")
    block = "input_blocks" if side == "down" else "output_blocks"
    return f"{block}.{place}.{int(part == 'attentions')}.{_inner(part, inner)}"


def _inner(part: str, name: str) -> str:
    return _RESNET.get(name, name) if part == "resnets" else name


def ldm_names(unet: nn.Module, vae: nn.Module) -> Tensors:
    """The weights of both by the names that a checkpoint has."""
    with_attention = {name.split(".")[1] for name, _ in unet.named_modules() if re.match(r"up_blocks\.\d\.att", name)}
    found: Tensors = {}
    for name, tensor in unet.state_dict().items():
        layer, _, parameter = name.rpartition(".")
        own = ldm_layer(layer)
        if "upsamplers" in layer and layer.split(".")[1] not in with_attention:
            own = own.replace(".2.conv", ".1.conv")
        found[f"model.diffusion_model.{own}.{parameter}"] = tensor
    for name, tensor in vae.state_dict().items():
        found[f"first_stage_model.{_vae_name(name)}"] = _as_convolution(name, tensor)
    return found


_VAE = (
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets\.(\d)", lambda found: f"up.{3 - int(found[1])}.block.{found[2]}"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{3 - int(found[1])}.upsample"),
    (r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"group_norm", "norm"),
    (r"to_([qkv])\.", r"\1."),
    (r"to_out\.0", "proj_out"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
)


def _vae_name(name: str) -> str:
    for pattern, becomes in _VAE:
        name = re.sub(pattern, becomes, name)
    return name


def _as_convolution(name: str, tensor: Tensor) -> Tensor:
    return tensor[:, :, None, None] if "attentions" in name and tensor.dim() == 2 else tensor


_OPEN_CLIP = (
    ("encoder.layers", "transformer.resblocks"),
    ("embeddings.token_embedding", "token_embedding"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("final_layer_norm", "ln_final"),
    ("layer_norm", "ln_"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.", "attn."),
)


def open_clip_names(weights: Tensors, prefix: str) -> Tensors:
    """OpenCLIP's names; it keeps the weights of queries, keys and values in one tensor."""
    state = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    found: Tensors = {"text_projection": state.pop("text_projection.weight").T}
    layers = {name.split(".")[2] for name in state if name.startswith("encoder.layers.")}
    for layer in layers:
        for kind in ("weight", "bias"):
            three = [state.pop(f"encoder.layers.{layer}.self_attn.{part}_proj.{kind}") for part in "qkv"]
            found[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(three)
    for name, tensor in state.items():
        found[_replaced(name)] = tensor
    return {prefix + name: tensor for name, tensor in found.items()}


def _replaced(name: str) -> str:
    for old, new in _OPEN_CLIP:
        name = name.replace(old, new)
    return name
