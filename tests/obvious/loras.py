"""LoRAs for further comparisons, made from a seed: random, in kohya's format, for the tiny SD1 reference checkpoint.

Needs no diffusers, so that a WebUI's own Python can make the same files. The numbers come from numpy's legacy
generator, whose stream is frozen for good.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

CONVOLUTIONS = {
    "lora_unet_down_blocks_0_resnets_0_conv1": 32,
    "lora_unet_down_blocks_1_downsamplers_0_conv": 64,
    "lora_unet_mid_block_resnets_1_conv2": 128,
}
"""Some 3x3 convolutions of the tiny checkpoint's UNet with their channels (as many in as out)."""


@dataclass(frozen=True)
class LoraRecipe:
    """How a random LoRA is made."""

    name: str
    seed: int
    convolutions: bool = False
    """Whether it has layers for 3x3 convolutions as well."""


RECIPES = (LoraRecipe("tinyC", 31), LoraRecipe("tinyStyle", 32), LoraRecipe("tinyConv", 33, convolutions=True))
"""A third subject, a style, and a subject whose LoRA reaches into 3x3 convolutions."""


def random_lora(recipe: LoraRecipe, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the keys, shapes and alphas of `like` (float32): down N(0, 1 / inputs), up N(0, 0.15^2).

    The values are drawn key by key in alphabetical order.
    """
    shapes = {key: tuple(value.shape) for key, value in like.items() if not key.endswith(".alpha")}
    alphas = {key: value for key, value in like.items() if key.endswith(".alpha")}
    if recipe.convolutions:
        for name, channels in CONVOLUTIONS.items():
            shapes[f"{name}.lora_down.weight"] = (4, channels, 3, 3)
            shapes[f"{name}.lora_up.weight"] = (channels, 4, 1, 1)
            alphas[f"{name}.alpha"] = torch.tensor(4)
    generator = np.random.RandomState(recipe.seed)
    weights = dict(alphas)
    for key in sorted(shapes):
        inputs = int(np.prod(shapes[key][1:]))
        scale = inputs**-0.5 if key.endswith(".lora_down.weight") else 0.15
        weights[key] = torch.from_numpy((generator.standard_normal(shapes[key]) * scale).astype(np.float32))
    return weights


def write_loras(folder: Path, like: Path) -> dict[str, Path]:
    """Write the LoRAs of all recipes, shaped like the file `like`; returns their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for recipe in RECIPES:
        paths[recipe.name] = folder / f"{recipe.name}.safetensors"
        metadata = {
            "ss_network_module": "networks.lora",
            "ss_network_dim": "4",
            "ss_network_alpha": "4",
            "ss_base_model_version": "sd_v1",
            "ss_output_name": recipe.name,
        }
        save_file(random_lora(recipe, load_file(like)), paths[recipe.name], metadata)
    return paths


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's tensors (names, shapes, values), whatever the file's metadata."""
    digest = hashlib.sha256()
    for key, value in sorted(load_file(path).items()):
        digest.update(f"{key}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
