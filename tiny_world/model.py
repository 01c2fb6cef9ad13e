"""The tiny world's networks: their SD1 (ldm) configuration, construction, and loading from the shipped single file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as single_file
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WEIGHTS = Path(__file__).parent / "weights"
CHECKPOINT = WEIGHTS / "tiny-world.safetensors"
CONFIG = WEIGHTS / "tiny-world.yaml"
TOKENIZER = WEIGHTS / "tokenizer"
SCALE = 0.18215
CONTEXT = 128

LDM_CONFIG: dict[str, Any] = {
    "model": {
        "base_learning_rate": 1.0e-4,
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.0120,
            "num_timesteps_cond": 1,
            "log_every_t": 200,
            "timesteps": 1000,
            "first_stage_key": "jpg",
            "cond_stage_key": "txt",
            "image_size": 16,
            "channels": 4,
            "cond_stage_trainable": False,
            "conditioning_key": "crossattn",
            "monitor": "val/loss_simple_ema",
            "scale_factor": SCALE,
            "use_ema": False,
            "unet_config": {
                "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    "image_size": 16,
                    "in_channels": 4,
                    "out_channels": 4,
                    "model_channels": 64,
                    "attention_resolutions": [4, 2, 1],
                    "num_res_blocks": 2,
                    "channel_mult": [1, 2, 1, 1],
                    "num_heads": 4,
                    "use_spatial_transformer": True,
                    "transformer_depth": 1,
                    "context_dim": CONTEXT,
                    "use_checkpoint": False,
                    "legacy": False,
                },
            },
            "first_stage_config": {
                "target": "ldm.models.autoencoder.AutoencoderKL",
                "params": {
                    "embed_dim": 4,
                    "monitor": "val/rec_loss",
                    "ddconfig": {
                        "double_z": True,
                        "z_channels": 4,
                        "resolution": 128,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": 64,
                        "ch_mult": [1, 1, 1, 2],
                        "num_res_blocks": 1,
                        "attn_resolutions": [],
                        "dropout": 0.0,
                    },
                    "lossconfig": {"target": "torch.nn.Identity"},
                },
            },
            "cond_stage_config": {
                "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                "params": {"version": "@TOKENIZER@"},
            },
        },
    }
}
"""Configuration in ldm's terms; the text of tiny-world.yaml. @TOKENIZER@ stands for the tokenizer's folder."""


def unet_config(ldm: dict[str, Any] = LDM_CONFIG) -> dict[str, Any]:
    """Arguments of diffusers' UNet for an ldm configuration."""
    return {**single_file.create_unet_diffusers_config_from_ldm(ldm, {}), "sample_size": 16}


def vae_config(ldm: dict[str, Any] = LDM_CONFIG) -> dict[str, Any]:
    """Arguments of diffusers' AutoencoderKL for an ldm configuration."""
    return {**single_file.create_vae_diffusers_config_from_ldm(ldm, {}), "sample_size": 128}


def scheduler_config(ldm: dict[str, Any] = LDM_CONFIG) -> dict[str, Any]:
    """Arguments of a diffusers scheduler for an ldm configuration: SD1's scaled-linear schedule, eps-prediction."""
    params = ldm["model"]["params"]
    return {
        "num_train_timesteps": params["timesteps"],
        "beta_start": params["linear_start"],
        "beta_end": params["linear_end"],
        "beta_schedule": "scaled_linear",
        "prediction_type": "epsilon",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }


def alphas_cumprod(ldm: dict[str, Any] = LDM_CONFIG) -> Tensor:
    """float32 [timesteps]: the product of 1 - beta up to each timestep."""
    params = ldm["model"]["params"]
    roots = torch.linspace(
        params["linear_start"] ** 0.5, params["linear_end"] ** 0.5, params["timesteps"], dtype=torch.float64
    )
    return torch.cumprod(1 - roots.square(), dim=0).float()


def build_unet() -> UNet2DConditionModel:
    """A fresh UNet."""
    return UNet2DConditionModel(**unet_config())


def build_vae() -> AutoencoderKL:
    """A fresh autoencoder."""
    return AutoencoderKL(**vae_config())


def text_config(vocabulary: int) -> CLIPTextConfig:
    """Configuration of the text encoder for a vocabulary whose last two entries are the start and end tokens."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=CONTEXT,
        intermediate_size=4 * CONTEXT,
        projection_dim=CONTEXT,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def build_text_encoder(vocabulary: int) -> CLIPTextModel:
    """A fresh text encoder."""
    return CLIPTextModel(text_config(vocabulary))


@dataclass(frozen=True)
class Parts:
    """Everything that a pipeline needs: networks in float32 and evaluation mode, tokenizer, scheduler arguments."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: nn.Module
    tokenizer: CLIPTokenizer
    scheduler: dict[str, Any]


def build_parts(weights: Path = WEIGHTS) -> Parts:
    """Fresh networks for the tokenizer of a folder of weights."""
    tokenizer = CLIPTokenizer.from_pretrained(str(weights / TOKENIZER.name))
    text = build_text_encoder(len(tokenizer))
    text.set_attn_implementation("eager")  # fused attention is several times slower at these widths on a CPU
    return Parts(build_unet(), build_vae(), text, tokenizer, scheduler_config())


def load_folder(weights: Path = WEIGHTS) -> Parts:
    """`load_pipeline_parts` of the files of a folder of weights."""
    return load_pipeline_parts(weights / CHECKPOINT.name, weights / CONFIG.name, weights / TOKENIZER.name)


def condition(text: nn.Module, ids: Tensor) -> dict[str, Any]:
    """What a text encoder says of token ids int64 [b, 77], as arguments of the UNet."""
    if isinstance(text, CLIPTextModel):
        return {"encoder_hidden_states": text(ids, attention_mask=causal(ids)).last_hidden_state}
    return text(ids)


def causal(ids: Tensor) -> Tensor:
    """CLIP's own mask [1, 1, token, token]; transformers' own code for it can not be part of a replayed graph."""
    tokens = ids.shape[1]
    return torch.full((1, 1, tokens, tokens), float("-inf"), device=ids.device).triu(1)


def _need(path: Path) -> Path:
    if not path.exists():
        message = f"{path} is missing: check it out from the repository or run `python tasks.py train-tiny`."
        raise FileNotFoundError(message)
    return path


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a single-file checkpoint by their ldm names, in float32. Raises FileNotFoundError if it is absent."""
    _need(path)
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def load_pipeline_parts(checkpoint: Path = CHECKPOINT, config: Path = CONFIG, tokenizer: Path = TOKENIZER) -> Parts:
    """Loads the single-file checkpoint by diffusers' own conversion, in float32.

    Raises FileNotFoundError if a file is missing, RuntimeError if names or shapes do not fit the configuration.
    """
    ldm = yaml.safe_load(_need(config).read_text(encoding="utf-8"))
    state = read_checkpoint(checkpoint)
    unet = UNet2DConditionModel(**unet_config(ldm))
    unet.load_state_dict(single_file.convert_ldm_unet_checkpoint(dict(state), unet.config))
    vae = AutoencoderKL(**vae_config(ldm))
    vae.load_state_dict(single_file.convert_ldm_vae_checkpoint(dict(state), vae.config))
    text = CLIPTextModel(CLIPTextConfig.from_pretrained(str(_need(tokenizer))))
    converted = single_file.convert_ldm_clip_checkpoint(dict(state))
    own = text.state_dict()
    if not any(name.startswith("text_model.") for name in own):
        converted = {name.removeprefix("text_model."): tensor for name, tensor in converted.items()}
    text.load_state_dict({name: tensor for name, tensor in converted.items() if not name.endswith("position_ids")})
    return Parts(
        unet.eval(), vae.eval(), text.eval(), CLIPTokenizer.from_pretrained(str(tokenizer)), scheduler_config(ldm)
    )


def load_vae(checkpoint: Path = CHECKPOINT, config: Path = CONFIG) -> AutoencoderKL:
    """The autoencoder alone, in float32 and evaluation mode. Raises FileNotFoundError if a file is missing."""
    ldm = yaml.safe_load(_need(config).read_text(encoding="utf-8"))
    vae = AutoencoderKL(**vae_config(ldm))
    vae.load_state_dict(single_file.convert_ldm_vae_checkpoint(read_checkpoint(checkpoint), vae.config))
    return vae.eval()
