"""Reads LoRA files in kohya's format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from clora_ext.errors import LoraError
from clora_ext.lora.deltas import Delta, LowRank

UNET = "lora_unet_"
"""kohya's key prefix of the UNet's layers."""
TEXT_ENCODERS: Mapping[int, tuple[str, ...]] = {1: ("lora_te_",), 2: ("lora_te1_", "lora_te2_")}
"""kohya's key prefixes of the text encoders' layers, by how many encoders a model has."""


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


def read_lora(path: Path) -> LoraFile:
    """Read a safetensors LoRA. Raises ``LoraError`` when the file is missing or is no safetensors file."""
    if not path.is_file():
        raise LoraError(f"There is no LoRA file {path.name} in {path.parent}.", field="lora")
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            metadata = file.metadata() or {}
    except Exception as error:  # whatever is wrong with a file; safetensors raises a class that it does not export
        raise LoraError(f"{path.name} is no safetensors file that can be read: {error}", field="lora") from error
    return LoraFile(path.stem, tensors, metadata)


def unet_deltas(file: LoraFile, unet: nn.Module, multiplier: float) -> dict[nn.Module, Delta]:
    """The file's changes of the UNet's layers, with alpha / rank and ``multiplier`` as their scale.

    Linear and convolution LoRAs (with or without a Tucker core ``lora_mid``) are known here; other kinds, and layers
    that the model does not have, raise ``LoraError``.
    """
    return _deltas(file, UNET, unet, multiplier)


def text_deltas(file: LoraFile, encoders: Sequence[nn.Module], multiplier: float) -> dict[nn.Module, Delta]:
    """The same for the layers of the text encoders, first to last."""
    found: dict[nn.Module, Delta] = {}
    for prefix, encoder in zip(TEXT_ENCODERS[len(encoders)], encoders, strict=True):
        inner = "" if hasattr(encoder, "text_model") else "text_model_"  # flattened in transformers 5.6
        found |= _deltas(file, prefix, encoder, multiplier, inner)
    return found


def _deltas(
    file: LoraFile, prefix: str, model: nn.Module, multiplier: float, inner: str = ""
) -> dict[nn.Module, Delta]:
    layers = {prefix + inner + name.replace(".", "_"): layer for name, layer in model.named_modules()}
    groups = _by_layer(file, prefix)
    unknown = [layer for layer in groups if layer not in layers]
    if unknown:
        counted = f"{len(unknown)} of {len(groups)} layers are not in it, {unknown[0]} first"
        raise LoraError(f"LoRA {file.name} does not fit this model: {counted}.", field="lora")
    return {layers[name]: _low_rank(file.name, name, tensors, multiplier) for name, tensors in groups.items()}


def _by_layer(file: LoraFile, prefix: str) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in file.tensors.items():
        if key.startswith(prefix):
            layer, _, rest = key.partition(".")
            groups.setdefault(layer, {})[rest] = tensor
    return groups


def _low_rank(file: str, layer: str, tensors: Mapping[str, Tensor], multiplier: float) -> LowRank:
    extra = set(tensors) - {"lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha"}
    if extra or "lora_down.weight" not in tensors or "lora_up.weight" not in tensors:
        names = ", ".join(sorted(tensors))
        msg = f"LoRA {file}: layer {layer} is of a kind that is read inside WebUI only ({names})."
        raise LoraError(msg, field="lora")
    down, up = tensors["lora_down.weight"].float(), tensors["lora_up.weight"].float()
    rank = down.shape[0]
    if "lora_mid.weight" in tensors:  # CP decomposition: the core carries the kernel
        core = tensors["lora_mid.weight"].float()
        down = torch.einsum("mrhw,ri->mihw", core, down.flatten(1))
    alpha = float(tensors["alpha"]) if "alpha" in tensors else float(rank)
    return LowRank(down, up, multiplier * alpha / rank)
