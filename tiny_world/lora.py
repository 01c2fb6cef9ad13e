"""LoRAs of the tiny world: their layers, and their files in kohya's format."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .concepts import XL_CONCEPTS, XL_STYLES
from .model import Parts
from .text_pair import TextPair
from .worlds import FIRST, World
from .xl_model import sgm_name

RANK = 4
NAMES: tuple[str, ...] = FIRST.names
TRAINED: dict[str, tuple[str, ...]] = {
    "sd1": ("down_blocks.0.", "down_blocks.1.", "up_blocks.2.", "up_blocks.3."),
    "sdxl": ("down_blocks.1.", "up_blocks."),
}
"""Blocks of the UNet that LoRAs train: what keeps the files small; by the UNet's topology."""
CONVOLVED: dict[str, tuple[str, ...]] = {"sd1": (), "sdxl": ("up_blocks.2.resnets.",)}
"""Blocks whose convolutions LoRAs train too, which kohya's trainer calls conv_dim: where the finest level has no
attention, new marks are drawn by its convolutions.
"""
SHAPED: frozenset[str] = frozenset({"towerhouse"})
"""The first world's LoRAs that change an outline, not only colours and marks: they also train the coarser levels, at
twice the rank.
"""


class LoraLayer(nn.Module):
    """A frozen Linear or Conv2d layer plus scale * up(down(x)), where scale = alpha / rank.

    down is [rank, in] or [rank, in, kh, kw], up [out, rank] or [out, rank, 1, 1].
    """

    def __init__(self, base: nn.Module, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        if not isinstance(base, (nn.Linear, nn.Conv2d)):
            raise TypeError(f"a LoRA layer needs a Linear or Conv2d layer, not {type(base).__name__}.")
        self.base = base
        out, *into = base.weight.shape
        bound = (3 / math.prod(into)) ** 0.5
        self.down = nn.Parameter(torch.empty(rank, *into).uniform_(-bound, bound, generator=generator))
        self.up = nn.Parameter(torch.zeros(out, rank, *(1 for _ in into[1:])))
        self.scale = alpha / rank

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """Same shapes as the wrapped layer."""
        if isinstance(self.base, nn.Conv2d):
            inner = functional.conv2d(x, self.down, None, self.base.stride, self.base.padding)
            return self.base(x) + functional.conv2d(inner, self.up) * self.scale
        return self.base(x) + functional.linear(functional.linear(x, self.down), self.up) * self.scale


def targets(module: nn.Module, text: bool, every: bool = False) -> list[str]:
    """Paths of the layers that get a LoRA.

    In the UNet all Linear layers of the transformer blocks in the blocks TRAINED, or in `every` block, and the
    convolutions of the ResBlocks CONVOLVED; in a text encoder those of attention and MLP, in a pair of them those of
    attention.
    """
    found = []
    blocks, convolved = TRAINED[topology(module)], CONVOLVED[topology(module)]
    pair = isinstance(module, TextPair)
    for name, child in module.named_modules():
        if not text and name.startswith(convolved or "-") and re.search(r"\.conv[12]$", name):
            found.append(name)
        if not isinstance(child, (nn.Linear, LoraLayer)):
            continue
        if text:
            chosen = "self_attn" in name or (".mlp." in name and not pair)
        else:
            chosen = "transformer_blocks" in name and (every or name.startswith(blocks))
        if chosen and name not in found and not name.endswith(".base"):
            found.append(name)
    return found


def inject(
    module: nn.Module, text: bool, rank: int, alpha: float, generator: torch.Generator, every: bool = False
) -> dict[str, LoraLayer]:
    """Wraps the target layers of a network in place; returns the wrappers by kohya's layer names."""
    layers: dict[str, LoraLayer] = {}
    for name in targets(module, text, every):
        parent_name, _, leaf = name.rpartition(".")
        parent = module.get_submodule(parent_name)
        layer = LoraLayer(getattr(parent, leaf), rank, alpha, generator)
        setattr(parent, leaf, layer)
        layers[kohya_name(name, text, topology(module))] = layer
    return layers


def topology(module: nn.Module) -> str:
    """`sdxl` for a pair of text encoders and a UNet that is given a vector, else `sd1`."""
    vector = getattr(getattr(module, "config", None), "addition_embed_type", None)
    return "sdxl" if isinstance(module, TextPair) or vector == "text_time" else "sd1"


def kohya_name(path: str, text: bool, kind: str = "sd1") -> str:
    """kohya's name for a layer's path in diffusers' or transformers' network, of a topology `sd1` or `sdxl`.

    SD1: lora_unet_... as diffusers names it, lora_te_text_model_...; SDXL: lora_unet_... as sgm names it,
    lora_te1_text_model_... and lora_te2_text_model_...
    """
    if text and kind == "sd1":
        return "lora_te_text_model_" + path.removeprefix("text_model.").replace(".", "_")
    if text:
        tower, _, rest = path.partition(".")
        return f"lora_{'te1' if tower == 'first' else 'te2'}_text_model_" + rest.replace(".", "_")
    if kind == "sdxl":
        path = sgm_name(f"{path}.weight").removesuffix(".weight")
    return "lora_unet_" + path.replace(".", "_")


def lora_state(layers: Mapping[str, LoraLayer]) -> dict[str, Tensor]:
    """float16 tensors of a kohya file: <layer>.lora_down.weight, .lora_up.weight and .alpha."""
    state: dict[str, Tensor] = {}
    for name, layer in layers.items():
        state[f"{name}.lora_down.weight"] = layer.down.detach().cpu().half().contiguous()
        state[f"{name}.lora_up.weight"] = layer.up.detach().cpu().half().contiguous()
        state[f"{name}.alpha"] = torch.tensor(layer.scale * layer.down.shape[0], dtype=torch.float16)
    return state


def merge(parts: Parts, state: Mapping[str, Tensor], weight: float) -> None:
    """Adds weight times a kohya LoRA to the networks' weights in place; a negative weight takes it out again.

    Raises KeyError for a layer that the networks do not have.
    """
    places: dict[str, nn.Module] = {}
    for module, text in ((parts.unet, False), (parts.text_encoder, True)):
        for name in targets(module, text, every=True):
            places[kohya_name(name, text, topology(module))] = module.get_submodule(name)
    for name in {key.split(".", 1)[0] for key in state}:
        down, up = state[f"{name}.lora_down.weight"].float(), state[f"{name}.lora_up.weight"].float()
        scale = float(state[f"{name}.alpha"]) / down.shape[0]
        layer = places[name]
        delta = up.flatten(1) @ down.flatten(1)
        with torch.no_grad():
            layer.weight += weight * scale * delta.view_as(layer.weight)


def trigger_phrase(name: str) -> str:
    """What to write in a prompt: a concept's trigger and its class, or a style's trigger and `style`."""
    if name in XL_CONCEPTS:
        return f"{XL_CONCEPTS[name].trigger} {XL_CONCEPTS[name].kind}"
    return f"{XL_STYLES[name].trigger} style"


def metadata(
    name: str, title: str, captions: list[str], steps: int, seed: int, rank: int, world: World = FIRST
) -> dict[str, str]:
    """kohya's and modelspec's fields of a LoRA file. modelspec.trigger_phrase is what to write in a prompt."""
    phrase = trigger_phrase(name)
    tags: Counter[str] = Counter()
    for text in captions:
        tags.update(tag.strip() for tag in text.split(",") if tag.strip())
    return {
        "ss_base_model_version": world.kohya_version,
        "ss_sd_model_name": world.checkpoint,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "ss_output_name": title,
        "ss_max_train_steps": str(steps),
        "ss_seed": str(seed),
        "ss_num_train_images": str(len(captions)),
        "ss_tag_frequency": json.dumps({f"1_{phrase}": dict(tags.most_common(40))}),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{world.architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.trigger_phrase": phrase,
    }


def lora_files(folder: Path, world: World = FIRST) -> list[tuple[str, str, int, Path]]:
    """(concept, title, seed, path) of all LoRAs of a world, set by set; the titles of a set have its ending."""
    return [
        (name, f"{name}{one.ending}", one.seed, folder / one.folder / f"{name}{one.ending}.safetensors")
        for one in world.sets
        for name in world.names
    ]
