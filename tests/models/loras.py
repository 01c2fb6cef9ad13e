"""Random LoRAs in kohya's format for the tiny checkpoints: every layer that its trainer adapts by default."""

import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.golden.authors.rebuild import RANK, lora_metadata, lora_name
from tests.models.weights import Weights
from tests.obvious.loras import LoraRecipe, random_lora

SDXL = {"ss_base_model_version": "sdxl_base_v1-0"}
SD2 = {"ss_base_model_version": "sd_v2", "ss_v2": "True"}
"""What the header of a LoRA says of the model it was trained on."""

_UNET = "model.diffusion_model."
_CLIP = "conditioner.embedders.0"
_OPENCLIP = re.compile(r"(.+)\.model\.transformer\.resblocks\.(\d+)\.(attn\.in_proj|attn\.out_proj|mlp\.\w+)[._]weight")
_OPENCLIP_PLACES = {"conditioner.embedders.1": "lora_te2", "cond_stage_model": "lora_te"}
_OPENCLIP_LAYERS = {
    "attn.in_proj": ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj"),
    "attn.out_proj": ("self_attn_out_proj",),
    "mlp.c_fc": ("mlp_fc1",),
    "mlp.c_proj": ("mlp_fc2",),
}


def write_lora(folder: Path, name: str, seed: int, weights: Weights, base: dict[str, str]) -> Path:
    """Write the LoRA `name` for the checkpoint `weights`, with `base` in its header; returns its path."""
    path = folder / f"{name}.safetensors"
    save_file(random_lora(LoraRecipe(name, seed), _unset_lora(weights)), path, lora_metadata(name) | base)
    return path


def kohya_layers(weight: str, *, sdxl: bool) -> tuple[str, ...]:
    """kohya's names of the layers in one weight of a checkpoint; none where its trainer leaves it alone.

    OpenCLIP keeps queries, keys and values in one weight. kohya names SDXL's UNet as sgm does, SD2's as diffusers does.
    """
    if text := _OPENCLIP.fullmatch(weight):
        root = f"{_OPENCLIP_PLACES[text[1]]}_text_model_encoder_layers_{text[2]}"
        return tuple(f"{root}_{layer}" for layer in _OPENCLIP_LAYERS[text[3]])
    name = lora_name(weight.replace(_CLIP, "cond_stage_model"))
    if name is None:
        return ()
    if sdxl and weight.startswith(_UNET):
        place = weight.removeprefix(_UNET).removesuffix(".weight")
        return ("lora_unet_" + place.replace(".", "_"),)
    return (name.replace("lora_te_", "lora_te1_") if sdxl else name,)


def _unset_lora(weights: Weights) -> Weights:
    """Keys and shapes of the LoRA that fits, its values unset but for alpha, which is the rank."""
    sdxl = any(weight.startswith(_CLIP) for weight in weights)
    lora: Weights = {}
    for weight in sorted(weights):
        layers = kohya_layers(weight, sdxl=sdxl)
        for layer in layers:
            rows, columns = weights[weight].shape
            lora[f"{layer}.lora_down.weight"] = torch.empty(RANK, columns)
            lora[f"{layer}.lora_up.weight"] = torch.empty(rows // len(layers), RANK)
            lora[f"{layer}.alpha"] = torch.tensor(RANK)
    return lora
