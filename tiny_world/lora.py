"""LoRAs of the tiny world: their layers, and their files in kohya's format."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .concepts import CONCEPTS, STYLES
from .model import Parts

RANK = 4
NAMES: tuple[str, ...] = (*CONCEPTS, *STYLES)
FINE: tuple[str, ...] = ("down_blocks.0.", "down_blocks.1.", "up_blocks.2.", "up_blocks.3.")
SHAPED: frozenset[str] = frozenset({"towerhouse"})
"""LoRAs that change an outline, not only colours and marks: they also train the coarser levels, at twice the rank."""


class LoraLayer(nn.Module):
    """A frozen Linear layer plus scale * up(down(x)). down is [rank, in], up [out, rank], scale = alpha / rank."""

    def __init__(self, base: nn.Module, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError(f"a LoRA layer needs a Linear layer, not {type(base).__name__}.")
        self.base = base
        bound = (3 / base.in_features) ** 0.5
        self.down = nn.Parameter(torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """Same shapes as the wrapped layer."""
        return self.base(x) + functional.linear(functional.linear(x, self.down), self.up) * self.scale


def targets(module: nn.Module, text: bool, every: bool = False) -> list[str]:
    """Paths of the layers that get a LoRA.

    In the UNet all Linear layers of the transformer blocks of its two finest levels (which keeps the files small; the
    coarser ones see 4x4 cells and fewer) or of `every` level, in the text encoder those of attention and MLP.
    """
    found = []
    for name, child in module.named_modules():
        if not isinstance(child, (nn.Linear, LoraLayer)):
            continue
        if text:
            chosen = "self_attn" in name or ".mlp." in name
        else:
            chosen = "transformer_blocks" in name and (every or name.startswith(FINE))
        if chosen and not name.endswith(".base"):
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
        layers[kohya_name(name, text)] = layer
    return layers


def kohya_name(path: str, text: bool) -> str:
    """lora_unet_... or lora_te_text_model_... for a layer's path in diffusers' or transformers' network."""
    if text:
        return "lora_te_text_model_" + path.removeprefix("text_model.").replace(".", "_")
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
    places = {
        kohya_name(name, False): parts.unet.get_submodule(name) for name in targets(parts.unet, False, every=True)
    }
    places |= {
        kohya_name(name, True): parts.text_encoder.get_submodule(name) for name in targets(parts.text_encoder, True)
    }
    for name in {key.split(".", 1)[0] for key in state}:
        down, up = state[f"{name}.lora_down.weight"].float(), state[f"{name}.lora_up.weight"].float()
        scale = float(state[f"{name}.alpha"]) / down.shape[0]
        layer = places[name]
        delta = up @ down
        with torch.no_grad():
            layer.weight += weight * scale * delta


def trigger_phrase(name: str) -> str:
    """What to write in a prompt: a concept's trigger and its class, or a style's trigger and `style`."""
    return f"{CONCEPTS[name].trigger} {CONCEPTS[name].kind}" if name in CONCEPTS else f"{STYLES[name].trigger} style"


def metadata(name: str, title: str, captions: list[str], steps: int, seed: int, rank: int) -> dict[str, str]:
    """kohya's and modelspec's fields of a LoRA file. modelspec.trigger_phrase is what to write in a prompt."""
    phrase = trigger_phrase(name)
    tags: Counter[str] = Counter()
    for text in captions:
        tags.update(tag.strip() for tag in text.split(",") if tag.strip())
    return {
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_name": "tiny-world.safetensors",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "ss_output_name": title,
        "ss_max_train_steps": str(steps),
        "ss_seed": str(seed),
        "ss_num_train_images": str(len(captions)),
        "ss_tag_frequency": json.dumps({f"1_{phrase}": dict(tags.most_common(40))}),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.trigger_phrase": phrase,
    }


def lora_files(folder: Path) -> list[tuple[str, str, int, Path]]:
    """(concept, title, seed, path) of all LoRAs: two of each, the second set's titles ending in -b."""
    first = [(name, name, 11, folder / "lora" / f"{name}.safetensors") for name in NAMES]
    second = [(name, f"{name}-b", 12, folder / "lora-b" / f"{name}-b.safetensors") for name in NAMES]
    return first + second
