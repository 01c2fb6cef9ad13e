"""Reads LoRA files in kohya's format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from clora_ext.errors import LoraError
from clora_ext.lora.deltas import Delta, LowRank

PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te_"}
"""kohya's key prefixes of Stable Diffusion 1.x."""


@dataclass(frozen=True, slots=True)
class LoraFile:
    """Tensors and metadata of one file."""

    name: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    @property
    def trigger(self) -> str:
        """The phrase that calls the concept up, as the file's own metadata has it; empty if it does not say."""
        return self.metadata.get("modelspec.trigger_phrase", "")


def read(path: Path) -> LoraFile:
    """Read a safetensors LoRA. Raises ``LoraError`` when the file is missing or is no safetensors file."""
    if not path.is_file():
        raise LoraError(f"There is no LoRA file {path.name} in {path.parent}.", field="lora")
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            metadata = file.metadata() or {}
    except Exception as error:  # safetensors raises a class of its own that it does not export
        raise LoraError(f"{path.name} is no safetensors file that can be read: {error}", field="lora") from error
    return LoraFile(path.stem, tensors, metadata)


def deltas(file: LoraFile, part: str, model: nn.Module, multiplier: float) -> dict[nn.Module, Delta]:
    """The file's changes of ``model``'s layers, with alpha / rank and ``multiplier`` as their scale.

    ``part`` is ``unet`` or ``text_encoder``. Linear and convolution LoRAs (with or without a Tucker core
    ``lora_mid``) are known here; other kinds, and layers that the model does not have, raise ``LoraError``.
    """
    prefix = PREFIXES[part]
    inner = "" if part == "unet" or hasattr(model, "text_model") else "text_model_"  # flattened in transformers 5.6
    layers = {prefix + inner + name.replace(".", "_"): layer for name, layer in model.named_modules()}
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in file.tensors.items():
        if key.startswith(prefix):
            layer, _, rest = key.partition(".")
            groups.setdefault(layer, {})[rest] = tensor
    unknown = [layer for layer in groups if layer not in layers]
    if unknown:
        raise LoraError(_mismatch(file.name, unknown, len(groups)), field="lora")
    return {layers[name]: _low_rank(file.name, name, tensors, multiplier) for name, tensors in groups.items()}


def _mismatch(name: str, unknown: Sequence[str], total: int) -> str:
    return f"LoRA {name} does not fit this model: {len(unknown)} of {total} layers are not in it, {unknown[0]} first."


def _low_rank(file: str, layer: str, tensors: Mapping[str, Tensor], multiplier: float) -> LowRank:
    extra = set(tensors) - {"lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha"}
    if extra or "lora_down.weight" not in tensors or "lora_up.weight" not in tensors:
        names = ", ".join(sorted(tensors))
        msg = f"LoRA {file}: layer {layer} is of a kind that is read inside WebUI only ({names})."
        raise LoraError(msg, field="lora")
    down, up = tensors["lora_down.weight"].float(), tensors["lora_up.weight"].float()
    if "lora_mid.weight" in tensors:  # CP decomposition: the core carries the kernel
        down = torch.einsum("mrhw,ri->mihw", tensors["lora_mid.weight"].float(), down.flatten(1))
    rank = tensors["lora_down.weight"].shape[0]
    alpha = float(tensors["alpha"]) if "alpha" in tensors else float(rank)
    return LowRank(down, up, multiplier * alpha / rank)
