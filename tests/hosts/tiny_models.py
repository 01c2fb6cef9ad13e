"""Tiny random checkpoints in sgm's and ldm's layout, written from diffusers' and transformers' own modules.

The parts stay at hand, so what is loaded can be compared with what was written. They draw noise: they serve for exact
comparisons, not for looking at.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.hosts.ldm_names import ldm_layer, ldm_names, open_clip_names
from tiny_world.model import TOKENIZER

WIDTH = 64
"""Of each text encoder; their heads are that wide."""
LAYERS = 3
SIZE_WIDTH = 32
WORDS = {"vocab_size": 1114, "bos_token_id": 1112, "eos_token_id": 1113}
"""Of the tiny world's tokenizer."""
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Tiny:
    """A checkpoint and the modules it was written from."""

    path: Path
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    texts: tuple[nn.Module, ...]


def write_xl(folder: Path, *, v: bool = False, keys: tuple[str, ...] = ()) -> Tiny:
    """SDXL: two text encoders, sizes, cross-attention at the two lower levels. ``keys`` are put into the file."""
    torch.manual_seed(5)
    unet = _unet(
        ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        2 * WIDTH,
        transformer_layers_per_block=[1, 1, 2],
        addition_embed_type="text_time",
        addition_time_embed_dim=SIZE_WIDTH,
        projection_class_embeddings_input_dim=WIDTH + 6 * SIZE_WIDTH,
    )
    clip, big = _clip("quick_gelu", CLIPTextModel), _clip("gelu", CLIPTextModelWithProjection)
    vae = _vae(0.13025)
    named = {f"conditioner.embedders.0.transformer.text_model.{name}": t for name, t in clip.state_dict().items()}
    named |= open_clip_names(big.state_dict(), "conditioner.embedders.1.model.") | ldm_names(unet, vae)
    scaling = "VScaling" if v else "EpsScaling"
    embedders = [{"params": {}}, {"params": {}}] + [{"params": {"outdim": SIZE_WIDTH}}] * 3
    params = {
        "scale_factor": 0.13025,
        "denoiser_config": {"params": {"scaling_config": {"target": f"sgm.denoiser_scaling.{scaling}"}}},
        "conditioner_config": {"params": {"emb_models": embedders}},
        "network_config": {
            "params": _numbers([4, 2], 2 * WIDTH)
            | {"num_classes": "sequential", "adm_in_channels": WIDTH + 6 * SIZE_WIDTH, "transformer_depth": [1, 1, 2]}
        },
    }
    path = _written(folder / "tiny-xl.safetensors", named | {key: torch.zeros(0) for key in keys}, params)
    return Tiny(path, unet, vae, (clip, big))


def write_sd2(folder: Path) -> Tiny:
    """SD 2.x that predicts velocity: OpenCLIP's text encoder, whose last layer is not used."""
    torch.manual_seed(6)
    unet = _unet(("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"), WIDTH)
    big, vae = _clip("gelu", CLIPTextModelWithProjection), _vae(0.18215)
    named = open_clip_names(big.state_dict(), "cond_stage_model.model.") | ldm_names(unet, vae)
    numbers = {"linear_start": 0.00085, "linear_end": 0.012, "timesteps": 1000, "image_size": 16}
    params = numbers | {
        "scale_factor": 0.18215,
        "parameterization": "v",
        "unet_config": {"params": _numbers([2, 1], WIDTH) | {"transformer_depth": 1}},
    }
    return Tiny(_written(folder / "tiny-sd2.safetensors", named, params), unet, vae, (big,))


def _unet(blocks: tuple[str, ...], context: int, **more: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(32, 64, 128),
        down_block_types=blocks,
        up_block_types=tuple(block.replace("Down", "Up") for block in blocks[::-1]),
        attention_head_dim=[2, 4, 8],
        cross_attention_dim=context,
        use_linear_projection=True,
        **more,
    ).eval()


def _numbers(resolutions: list[int], context: int) -> dict[str, object]:
    """ldm's numbers for ``_unet``."""
    return {
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 32,
        "attention_resolutions": resolutions,
        "num_res_blocks": 2,
        "channel_mult": [1, 2, 4],
        "num_head_channels": 16,
        "use_linear_in_transformer": True,
        "context_dim": context,
    }


def _clip(activation: str, make: type[nn.Module]) -> nn.Module:
    numbers = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "projection_dim": WIDTH}
    config = CLIPTextConfig(**numbers, **WORDS, num_hidden_layers=LAYERS, num_attention_heads=1, hidden_act=activation)
    made = make(config).eval()
    for name, parameter in made.named_parameters():  # drawn so small that all texts would be alike
        if "embedding" in name or "projection" in name:
            nn.init.normal_(parameter, std=0.5)
    return made


def _vae(scaling: float) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 32, 64),
        layers_per_block=1,
        scaling_factor=scaling,
    ).eval()


AUTOENCODER = {
    "in_channels": 3,
    "out_ch": 3,
    "z_channels": 4,
    "ch": 32,
    "ch_mult": [1, 1, 1, 2],
    "num_res_blocks": 1,
}


def _written(path: Path, named: Tensors, params: dict[str, object]) -> Path:
    """Checkpoint, yaml, and the tiny world's words without its text encoder's numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in named.items()}, str(path))
    params["first_stage_config"] = {"params": {"ddconfig": AUTOENCODER}}
    path.with_suffix(".yaml").write_text(yaml.safe_dump({"model": {"params": params}}), encoding="utf-8")
    without = shutil.ignore_patterns("config.json")
    shutil.copytree(TOKENIZER, path.parent / "tokenizer", ignore=without, dirs_exist_ok=True)
    return path


# -- LoRAs ------------------------------------------------------------------------------------------------------------

Added = dict[tuple[int, str], Tensor]
"""What a LoRA adds to the weights of a layer: of the UNet (0) or of a text encoder (1, 2), by diffusers' name."""


def _adapted(tiny: Tiny, naming: str) -> Iterator[tuple[str, tuple[int, str], nn.Linear]]:
    """The layers that kohya's trainer adapts by default, by its names."""
    for name, layer in tiny.unet.named_modules():
        if isinstance(layer, nn.Linear) and ".attentions." in name:
            yield f"lora_unet.{ldm_layer(name) if naming == 'ldm' else name}", (0, name), layer
    is_sd2 = len(tiny.texts) == 1
    for number, encoder in enumerate(tiny.texts, 1):
        prefix = "lora_te" if is_sd2 else f"lora_te{number}"
        for name, layer in encoder.named_modules():
            unused = is_sd2 and f".{LAYERS - 1}." in name
            if isinstance(layer, nn.Linear) and ".layers." in f".{name}" and not unused:
                yield f"{prefix}.text_model.{name.removeprefix('text_model.')}", (number, name), layer


def write_lora(tiny: Tiny, path: Path, seed: int, naming: str = "ldm") -> Added:
    """A random LoRA of all those layers with ``ldm`` or ``diffusers`` names; gives what it adds."""
    generator = torch.Generator().manual_seed(seed)
    tensors: Tensors = {}
    added: Added = {}
    for name, place, layer in _adapted(tiny, naming):
        key = name.replace(".", "_")
        down = torch.randn(2, layer.in_features, generator=generator) / layer.in_features**0.5
        up = torch.randn(layer.out_features, 2, generator=generator) * 0.3
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1.0)}
        added[place] = up @ down / 2
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path))
    return added
