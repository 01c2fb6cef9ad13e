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


_TEXT = "lora_te"
_READS_TEXT = "attn2_to_k.lora_down.weight"


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

    @property
    def text_width(self) -> int | None:
        """How wide the texts are that its cross-attention reads, by which kinds of models differ; None without any."""
        widths = (tensor.shape[1] for key, tensor in self.tensors.items() if key.endswith(_READS_TEXT))
        return next(widths, None)


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


def unet_deltas(
    file: LoraFile, unet: nn.Module, multiplier: float, other_names: Mapping[str, str] | None = None
) -> dict[nn.Module, Delta]:
    """The file's changes of the UNet's layers, with alpha / rank and ``multiplier`` as their scale.

    Layers are named as in ``unet``, or by ``other_names`` of them, which say what a layer is called there. Linear and
    convolution LoRAs (with or without a Tucker core ``lora_mid``) are known here; other kinds, and layers that the
    model does not have, raise ``LoraError``.
    """
    if not any(key.startswith((UNET, _TEXT)) for key in file.tensors):
        raise LoraError(_foreign(file), field="lora")
    own = dict(unet.named_modules())
    named = own | {other: own[name] for other, name in (other_names or {}).items()}
    return _deltas(file, _keyed(UNET, named), UNET, multiplier)


def _foreign(file: LoraFile) -> str:
    first = next(iter(file.tensors), "nothing")
    return f"LoRA {file.name} has no layer named as kohya's trainer names them ({first}); convert it to that format."


def text_deltas(file: LoraFile, encoders: Sequence[nn.Module], multiplier: float) -> dict[nn.Module, Delta]:
    """The same for the layers of the text encoders, first to last."""
    prefixes = TEXT_ENCODERS[len(encoders)]
    strange = [key for key in file.tensors if key.startswith(_TEXT) and not key.startswith(prefixes)]
    if strange:
        msg = f"LoRA {file.name} does not fit this model: it was made for other text encoders ({strange[0]})."
        raise LoraError(msg, field="lora")
    found: dict[nn.Module, Delta] = {}
    for prefix, encoder in zip(prefixes, encoders, strict=True):
        inner = "" if hasattr(encoder, "text_model") else "text_model_"  # flattened in transformers 5.6
        found |= _deltas(file, _keyed(prefix + inner, dict(encoder.named_modules())), prefix, multiplier)
    return found


def _keyed(prefix: str, layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    return {prefix + name.replace(".", "_"): layer for name, layer in layers.items()}


def _deltas(file: LoraFile, layers: Mapping[str, nn.Module], prefix: str, multiplier: float) -> dict[nn.Module, Delta]:
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
