"""The world of SDXL's topology: its networks, its file in sgm's layout, its start from the first world's weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as single_file
from safetensors.torch import save_file
from torch import Tensor, nn

from .caption import known_words
from .clip_vocabulary import MERGES, read_clip_tokenizer, write_clip_tokenizer
from .export import unet_name, vae_state
from .model import LDM_CONFIG, SCALE, WEIGHTS, Parts, load_pipeline_parts, read_checkpoint, scheduler_config, vae_config
from .noise import noise_words
from .text_mean import give_mean
from .text_pair import (
    ENTRIES,
    FIRST_WIDTH,
    LAYERS,
    NUMBER_WIDTH,
    SECOND_PAD,
    SECOND_WIDTH,
    TextPair,
    fresh_pair,
    in_eight_bits,
    learning,
    settled,
    tower_config,
)

XL_WEIGHTS = WEIGHTS.parent / "weights-xl"
XL_CHECKPOINT = XL_WEIGHTS / "tiny-world-xl.safetensors"
XL_CONFIG = XL_WEIGHTS / "tiny-world-xl.yaml"
ARCH = "tiny-bigG.json"
"""OpenCLIP's description of the second text encoder, in the tokenizer's folder; the yaml makes it known by its stem."""
SIDE = 192
SECOND = "conditioner.embedders.1.model."
FIRST = "conditioner.embedders.0.transformer.text_model."
_LDM = LDM_CONFIG["model"]["params"]
_ARCH = f"@TOKENIZER@/{ARCH}"
_ENCODERS = "sgm.modules.encoders.modules"


def _numbers(key: str) -> dict[str, Any]:
    target = f"{_ENCODERS}.ConcatTimestepEmbedderND"
    return {"is_trainable": False, "input_key": key, "target": target, "params": {"outdim": NUMBER_WIDTH}}


SGM_CONFIG: dict[str, Any] = {
    "model": {
        "target": "sgm.models.diffusion.DiffusionEngine",
        "params": {
            "scale_factor": SCALE,
            "disable_first_stage_autocast": True,
            "denoiser_config": {
                "target": "sgm.modules.diffusionmodules.denoiser.DiscreteDenoiser",
                "params": {
                    "num_idx": 1000,
                    # weighting is a matter of training; this call, made before the conditioner, makes ARCH known
                    "weighting_config": {
                        "target": "open_clip.add_model_config",
                        "params": {"path": f"@TOKENIZER@/{ARCH}"},
                    },
                    "scaling_config": {"target": "sgm.modules.diffusionmodules.denoiser_scaling.EpsScaling"},
                    "discretization_config": {
                        "target": "sgm.modules.diffusionmodules.discretizer.LegacyDDPMDiscretization"
                    },
                },
            },
            "network_config": {
                "target": "sgm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    "adm_in_channels": SECOND_WIDTH + 6 * NUMBER_WIDTH,
                    "num_classes": "sequential",
                    "use_checkpoint": False,
                    "in_channels": 4,
                    "out_channels": 4,
                    "model_channels": 64,
                    "attention_resolutions": [4, 2],
                    "num_res_blocks": 1,
                    "channel_mult": [1, 1, 1],
                    "num_head_channels": 16,
                    "use_spatial_transformer": True,
                    "use_linear_in_transformer": True,
                    "transformer_depth": [1, 1, 1],
                    "context_dim": FIRST_WIDTH + SECOND_WIDTH,
                    "spatial_transformer_attn_type": "softmax-xformers",
                    "legacy": False,
                },
            },
            "conditioner_config": {
                "target": "sgm.modules.GeneralConditioner",
                "params": {
                    "emb_models": [
                        {
                            "is_trainable": False,
                            "input_key": "txt",
                            "target": f"{_ENCODERS}.FrozenCLIPEmbedder",
                            "params": {"version": "@TOKENIZER@", "layer": "hidden", "layer_idx": LAYERS - 1},
                        },
                        {
                            "is_trainable": False,
                            "input_key": "txt",
                            "target": f"{_ENCODERS}.FrozenOpenCLIPEmbedder2",
                            "params": {
                                "arch": Path(ARCH).stem,
                                "version": "none",
                                "freeze": True,
                                "layer": "penultimate",
                                "always_return_pooled": True,
                                "legacy": False,
                            },
                        },
                        _numbers("original_size_as_tuple"),
                        _numbers("crop_coords_top_left"),
                        _numbers("target_size_as_tuple"),
                    ]
                },
            },
            "first_stage_config": {
                "target": "sgm.models.autoencoder.AutoencoderKLInferenceWrapper",
                "params": _LDM["first_stage_config"]["params"],
            },
        },
    }
}
"""Configuration in sgm's terms; the text of tiny-world-xl.yaml. @TOKENIZER@ stands for `tokenizer_folder`."""

ARCHITECTURE: dict[str, Any] = {
    "embed_dim": SECOND_WIDTH,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": SECOND_WIDTH, "head_width": 8, "patch_size": 16},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": ENTRIES,
        "width": SECOND_WIDTH,
        "heads": SECOND_WIDTH // 8,
        "layers": LAYERS,
    },
}
"""The second text encoder in OpenCLIP's terms; of the other half, which is made and thrown away, the least."""


def unet_config() -> dict[str, Any]:
    """Arguments of diffusers' UNet."""
    made = single_file.create_unet_diffusers_config_from_ldm(SGM_CONFIG, {})
    vector = {"class_embed_type": None, "addition_embed_type": "text_time", "addition_time_embed_dim": NUMBER_WIDTH}
    return {**made, **vector, "sample_size": SIDE // 8}


def tokenizer_folder(weights: Path = XL_WEIGHTS) -> Path:
    """The folder of CLIP's tokenizer and of both text encoders' configurations; made where it is missing."""
    config = tower_config(FIRST_WIDTH, "quick_gelu").to_dict()
    kept = ("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers")
    kept += ("num_attention_heads", "max_position_embeddings", "hidden_act", "layer_norm_eps", "attention_dropout")
    kept += ("initializer_range", "initializer_factor", "bos_token_id", "eos_token_id", "pad_token_id")
    told = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", **{key: config[key] for key in kept}}
    files = {"config.json": told, ARCH: ARCHITECTURE}
    return write_clip_tokenizer(weights / "tokenizer", weights / MERGES, files)


def learned_tokens(weights: Path = XL_WEIGHTS) -> list[int]:
    """Tokens whose rows learn: of the captions' words and of noise, of marks, start, end and padding."""
    tokenizer = read_clip_tokenizer(tokenizer_folder(weights))
    texts = [*known_words(), *noise_words(), ", . ( ) : [ ] _ 1 2 9"]
    found = {token for text in texts for token in tokenizer(text)["input_ids"]}
    return sorted(found | {SECOND_PAD})


# Where the blocks of 64 channels of the first world's UNet go; both names are diffusers'.
_FROM_FIRST: tuple[tuple[str, str], ...] = (
    ("conv_in.", "conv_in."),
    ("time_embedding.", "time_embedding."),
    ("conv_norm_out.", "conv_norm_out."),
    ("conv_out.", "conv_out."),
    ("down_blocks.0.resnets.0.", "down_blocks.0.resnets.0."),
    ("down_blocks.0.downsamplers.0.", "down_blocks.0.downsamplers.0."),
    ("down_blocks.1.resnets.0.", "down_blocks.0.resnets.1."),
    ("down_blocks.1.attentions.0.", "down_blocks.0.attentions.1."),
    ("down_blocks.1.downsamplers.0.", "down_blocks.2.downsamplers.0."),
    ("down_blocks.2.resnets.0.", "down_blocks.2.resnets.1."),
    ("down_blocks.2.attentions.0.", "down_blocks.2.attentions.1."),
    ("mid_block.", "mid_block."),
    ("up_blocks.0.resnets.0.", "up_blocks.1.resnets.0."),
    ("up_blocks.0.resnets.1.", "up_blocks.1.resnets.1."),
    ("up_blocks.0.attentions.", "up_blocks.1.attentions."),
    ("up_blocks.0.upsamplers.0.", "up_blocks.1.upsamplers.0."),
    ("up_blocks.1.resnets.0.", "up_blocks.3.resnets.1."),
    ("up_blocks.1.resnets.1.", "up_blocks.3.resnets.2."),
    ("up_blocks.1.attentions.0.", "up_blocks.3.attentions.1."),
    ("up_blocks.1.attentions.1.", "up_blocks.3.attentions.2."),
    ("up_blocks.1.upsamplers.0.", "up_blocks.0.upsamplers.0."),
    ("up_blocks.2.resnets.0.", "up_blocks.3.resnets.1."),
    ("up_blocks.2.resnets.1.", "up_blocks.3.resnets.2."),
)


def take_over(unet: nn.Module, source: Mapping[str, Tensor]) -> int:
    """Copies what fits of the first world's UNet (diffusers' names) into ours, in place; the numbers copied."""
    copied, own = 0, unet.state_dict()
    for name, target in own.items():
        found = [old + name.removeprefix(new) for new, old in _FROM_FIRST if name.startswith(new)]
        value = source.get(found[0]) if found else None
        if value is not None and value.numel() == target.numel():  # a projection by a 1x1 convolution is a matrix here
            own[name] = value.reshape(target.shape).clone()
            copied += value.numel()
    unet.load_state_dict(own)
    return copied


def build(weights: Path = XL_WEIGHTS) -> Parts:
    """Fresh networks, begun from the first world's: its autoencoder as it is, the UNet where shapes allow."""
    first = load_pipeline_parts()
    text = fresh_pair(SIDE, learned_tokens(weights))
    unet = UNet2DConditionModel(**unet_config())
    take_over(unet, first.unet.state_dict())
    tokenizer = read_clip_tokenizer(tokenizer_folder(weights))
    return Parts(unet, first.vae, text, tokenizer, scheduler_config())


# -- the file --------------------------------------------------------------------------------------------------------

_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_QKV = ("q_proj", "k_proj", "v_proj")


def open_clip_state(second: Mapping[str, Tensor], projection: Tensor) -> dict[str, Tensor]:
    """OpenCLIP's names for a text tower with transformers' names; projection [out, in]."""
    state = {
        "positional_embedding": second["embeddings.position_embedding.weight"],
        "token_embedding.weight": second["embeddings.token_embedding.weight"],
        "text_projection": projection.T,
        "logit_scale": torch.tensor(4.6052),
    }
    state |= {f"ln_final.{part}": second[f"final_layer_norm.{part}"] for part in ("weight", "bias")}
    for layer in range(LAYERS):
        old, new = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for part in ("weight", "bias"):
            for own, theirs in _OPEN_CLIP.items():
                state[f"{new}.{theirs}.{part}"] = second[f"{old}.{own}.{part}"]
            parts = [second[f"{old}.self_attn.{own}.{part}"] for own in _QKV]
            state[f"{new}.attn.in_proj_{part}"] = torch.cat(parts)
    return state


def tower_state(open_clip: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """What `open_clip_state` is given, from what it gives."""
    state = {
        "embeddings.position_embedding.weight": open_clip["positional_embedding"],
        "embeddings.token_embedding.weight": open_clip["token_embedding.weight"],
    }
    state |= {f"final_layer_norm.{part}": open_clip[f"ln_final.{part}"] for part in ("weight", "bias")}
    for layer in range(LAYERS):
        old, new = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
        for part in ("weight", "bias"):
            for own, theirs in _OPEN_CLIP.items():
                state[f"{new}.{own}.{part}"] = open_clip[f"{old}.{theirs}.{part}"]
            parts = open_clip[f"{old}.attn.in_proj_{part}"].chunk(3)
            state |= {f"{new}.self_attn.{own}.{part}": value for own, value in zip(_QKV, parts, strict=True)}
    return state, open_clip["text_projection"].T


def sgm_state(parts: Parts) -> dict[str, Tensor]:
    """All weights under their names in an SDXL checkpoint: floats as float16, the tables of tokens as float8_e4m3fn."""
    text = settled(parts.text_encoder)
    unet = {f"model.diffusion_model.{sgm_name(name)}": value for name, value in parts.unet.state_dict().items()}
    first = {f"{FIRST}{name}": value for name, value in text.first.state_dict().items()}
    second = open_clip_state(text.second.state_dict(), text.projection.weight)
    state = {**unet, **vae_state(parts.vae.state_dict()), **first, **{SECOND + k: v for k, v in second.items()}}
    state = {name: tensor.detach().cpu() for name, tensor in state.items() if not name.endswith("position_ids")}
    state = {k: in_eight_bits(v) if "token_embedding" in k else v.half() for k, v in state.items()}
    state[f"{FIRST}embeddings.position_ids"] = torch.arange(77)[None]
    return {name: tensor.contiguous() for name, tensor in state.items()}


def sgm_name(name: str, attention: Collection[int] = (1, 2)) -> str:
    """The sgm name (without `model.diffusion_model.`) of a parameter of diffusers' UNet."""
    if name.startswith("add_embedding."):
        part, leaf = name.removeprefix("add_embedding.").split(".")
        return f"label_emb.0.{0 if part == 'linear_1' else 2}.{leaf}"
    return unet_name(name, per_level=1, levels=3, attention=attention)


def export(
    folder: Path, unet: Mapping[str, Tensor], vae: Mapping[str, Tensor], text: Mapping[str, Tensor], note: str = ""
) -> None:
    """Writes the files of a folder of weights from the state dictionaries of networks that `build` made.

    The first encoder is given a mean. Raises ValueError if a weight is not finite.
    """
    parts = build(folder)
    for net, state in ((parts.unet, unet), (parts.vae, vae), (parts.text_encoder, text)):
        net.load_state_dict(state)
    give_mean(parts)
    write(parts, folder, note)


def write(parts: Parts, folder: Path, note: str) -> None:
    """Writes tiny-world-xl.safetensors and its yaml. ValueError if a weight is not finite."""
    state = sgm_state(parts)
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor.float()).all()):
            raise ValueError(f"{name} is not finite in half precision: train again with a lower learning rate.")
    folder.mkdir(parents=True, exist_ok=True)
    told = {"format": "pt", "modelspec.title": "tiny world XL", "modelspec.description": note}
    told["modelspec.architecture"] = "stable-diffusion-xl-v1-base"
    save_file(state, folder / XL_CHECKPOINT.name, metadata=told)
    (folder / XL_CHECKPOINT.name).chmod(0o644)
    text = yaml.safe_dump(SGM_CONFIG, sort_keys=False, default_flow_style=None)
    (folder / XL_CONFIG.name).write_text(text, encoding="utf-8")


def load_to_learn(weights: Path = XL_WEIGHTS) -> Parts:
    """The parts of the single file, with text encoders as `build` makes them."""
    parts = load(weights)
    learning(parts.text_encoder, learned_tokens(weights))
    return parts


def load(weights: Path = XL_WEIGHTS) -> Parts:
    """The parts of the single file, in float32 and evaluation mode.

    Raises FileNotFoundError if a file is missing, RuntimeError if names or shapes do not fit.
    """
    state = read_checkpoint(weights / XL_CHECKPOINT.name)
    unet = UNet2DConditionModel(**unet_config())
    unet.load_state_dict(single_file.convert_ldm_unet_checkpoint(dict(state), unet.config))
    vae = AutoencoderKL(**vae_config())
    vae.load_state_dict(single_file.convert_ldm_vae_checkpoint(dict(state), vae.config))
    text = TextPair(SIDE)
    first = {k.removeprefix(FIRST): v for k, v in state.items() if k.startswith(FIRST)}
    text.first.load_state_dict({k: v for k, v in first.items() if not k.endswith("position_ids")})
    second, projection = tower_state({k.removeprefix(SECOND): v for k, v in state.items() if k.startswith(SECOND)})
    text.second.load_state_dict(second)
    text.projection.load_state_dict({"weight": projection})
    tokenizer = read_clip_tokenizer(tokenizer_folder(weights))
    return Parts(unet.eval(), vae.eval(), text.eval(), tokenizer, scheduler_config())
