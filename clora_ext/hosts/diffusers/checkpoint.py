"""Loads a Stable Diffusion 1.x single-file checkpoint with diffusers' own conversion."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

from clora_ext.errors import HostError


@dataclass(frozen=True, slots=True)
class Model:
    """The parts of a latent diffusion model, in evaluation mode."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizerFast
    alphas_cumprod: torch.Tensor
    """[1000], float32, computed as ldm does."""

    @property
    def device(self) -> torch.device:
        """Where the UNet is; its own property of that name walks through all its layers every time."""
        return self.unet.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the UNet computes in."""
        return self.unet.conv_in.weight.dtype


def load(
    checkpoint: Path,
    config: Path,
    tokenizer: Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Model:
    """Load ``checkpoint`` (ldm layout, safetensors) whose ldm yaml is ``config``.

    ``tokenizer`` is a folder with vocabulary and the text encoder's ``config.json``. Raises ``HostError`` when a
    file is missing.
    """
    for path in (checkpoint, config, tokenizer / "config.json"):
        if not path.exists():
            msg = f"{path.name} is missing in {path.parent}; check the path of the checkpoint."
            raise HostError(msg)
    original = yaml.safe_load(re.sub(r'(version:\s*)"?@\w+@"?', r"\1tokenizer", config.read_text(encoding="utf-8")))
    tensors = load_file(str(checkpoint))
    unet = UNet2DConditionModel.from_single_file(dict(tensors), original_config=original, torch_dtype=dtype)
    vae = AutoencoderKL.from_single_file(dict(tensors), original_config=original, torch_dtype=dtype)
    text_encoder = _text_encoder(tensors, tokenizer).to(dtype=dtype)
    for module in (unet, vae, text_encoder):
        module.eval().to(device)
    words = CLIPTokenizerFast.from_pretrained(tokenizer, local_files_only=True)
    return Model(unet, vae, text_encoder, words, _alphas_cumprod(original["model"]["params"]).to(device))


def _text_encoder(tensors: dict[str, torch.Tensor], folder: Path) -> CLIPTextModel:
    encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(folder, local_files_only=True))
    state = convert_ldm_clip_checkpoint(tensors)
    if not hasattr(encoder, "text_model"):  # transformers 5.6 and later have no inner wrapper
        state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if not name.endswith("position_ids")}
    missing, unexpected = encoder.load_state_dict(state, strict=False)
    wrong = [name for name in missing if not name.endswith("position_ids")] + unexpected
    if wrong:
        msg = f"The checkpoint's text encoder does not fit {folder.name}/config.json: {wrong[0]}."
        raise HostError(msg)
    return encoder


def _alphas_cumprod(params: dict[str, Any]) -> torch.Tensor:
    """ldm's ``linear`` schedule, which diffusers calls scaled linear (ldm/modules/diffusionmodules/util.py)."""
    ends = params["linear_start"] ** 0.5, params["linear_end"] ** 0.5
    betas = torch.linspace(*ends, params["timesteps"], dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0).float()
