"""Reads LoRA files: every name as kohya's trainer has it, every number checked, and what they were made for."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clora_ext.errors import LoraError
from clora_ext.lora.differences import Parts
from clora_ext.lora.header import AGAIN, read_header
from clora_ext.lora.kinds import OUT_OF_MEMORY
from clora_ext.lora.names import EMBEDDING, TEXT, UNET, kohya_names
from clora_ext.lora.peft import as_lycoris

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_TEXT_WIDTHS: Mapping[int, str] = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}
_TRANSFORMERS = re.compile(r"lora_unet_(transformer_|double_blocks_|single_blocks_|joint_blocks_|blocks_\d)|lora_te3_")
_READS_TEXT = "attn2_to_k"
_BY_INPUT = ("lora_down.weight", "hada_w1_b", "diff")
"""Parts whose second axis is a layer's input."""


@dataclass(frozen=True, slots=True)
class LoraFile:
    """Tensors by kohya's names, and metadata of one file."""

    name: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    as_written: bool = True
    """Whether names and numbers are those that stand in the file."""

    @property
    def trigger(self) -> str:
        """The phrase that calls the concept up, as the file's own metadata has it; empty if it does not say."""
        return self.metadata.get("modelspec.trigger_phrase", "")

    @property
    def layers(self) -> dict[str, dict[str, Tensor]]:
        """The parts of every layer, by kohya's name of the layer."""
        found: dict[str, dict[str, Tensor]] = {}
        for key, tensor in self.tensors.items():
            layer, _, part = key.partition(".")
            if key.startswith((UNET, TEXT)):
                found.setdefault(layer, {})[part] = tensor
        return found

    @property
    def strange(self) -> tuple[str, ...]:
        """Tensors that are of no layer and no embedding."""
        return tuple(key for key in self.tensors if not key.startswith((UNET, TEXT, EMBEDDING)))

    @property
    def embeddings(self) -> tuple[str, ...]:
        """The names of the textual inversion embeddings that it brings along."""
        names = (key.removeprefix(EMBEDDING).split(".")[0] for key in self.tensors if key.startswith(EMBEDDING))
        return tuple(dict.fromkeys(names))

    @property
    def text_width(self) -> int | None:
        """How wide the texts are that its cross-attention reads, by which kinds of models differ; None without any."""
        readers = (parts for layer, parts in self.layers.items() if layer.endswith(_READS_TEXT))
        return next(_inputs(readers), None)

    @property
    def made_for(self) -> str | None:
        """The kind of model that its layers are those of, in words; None where they do not tell."""
        if any(_TRANSFORMERS.match(key) for key in self.tensors):
            return "Flux, Stable Diffusion 3 or another transformer"
        if any(key.startswith(f"{TEXT}2_") for key in self.tensors):
            return "SDXL"
        return _TEXT_WIDTHS.get(self.text_width or 0)

    def without_numbers(self) -> "LoraFile":
        """The same file with nothing but the sizes of its tensors, and the numbers of single ones."""
        sizes = {key: part if part.numel() == 1 else part.to("meta") for key, part in self.tensors.items()}
        return replace(self, tensors=sizes)


def _inputs(layers: Iterator[Parts]) -> Iterator[int]:
    for parts in layers:
        for name in _BY_INPUT:
            if name in parts:
                yield parts[name].shape[1]


def read_lora(path: Path) -> LoraFile:
    """Read a safetensors LoRA. Raises ``LoraError`` for a file that is missing, cut off, damaged or no LoRA."""
    header = read_header(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except OUT_OF_MEMORY:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        msg = f"LoRA {path.stem} can not be read, its header contradicts itself: {AGAIN}, or save it again."
        raise LoraError(msg, field="lora") from error
    return lora_of(path.stem, tensors, header.metadata, _config_beside(path))


def lora_sizes(path: Path) -> LoraFile:
    """The names and sizes of a safetensors LoRA, by its header alone. Raises ``LoraError`` as ``read_lora``."""
    header = read_header(path)
    try:
        sizes = {name: torch.empty(tuple(entry["shape"]), device="meta") for name, entry in header.tensors.items()}
    except (RuntimeError, TypeError) as error:
        raise LoraError(f"LoRA {path.stem} has a damaged header: {AGAIN}, or save it again.", field="lora") from error
    return LoraFile(path.stem, kohya_names(sizes), header.metadata, as_written=False)


def lora_of(name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], config: Any = None) -> LoraFile:
    """A LoRA from tensors as a trainer wrote them; ``config`` is PEFT's, where there is one.

    Raises ``LoraError`` for what is no LoRA, and for numbers that are none.
    """
    named = kohya_names({key: _computable(tensor) for key, tensor in tensors.items()})
    whole = as_lycoris(named, config or _adapter_config(metadata))
    as_written = whole.keys() == tensors.keys() and all(whole[key] is tensors[key] for key in whole)
    file = LoraFile(name, whole, metadata, as_written)
    if not file.layers:
        what = f"has no layer of a LoRA in it ({next(iter(tensors), 'nothing')} first)"
        raise LoraError(f"LoRA {name} {what}; if it is something else, it belongs in another folder.", field="lora")
    for key, tensor in named.items():
        if not torch.isfinite(tensor).all():
            where = f"{key} has numbers that are not finite"
            raise LoraError(f"LoRA {name} is spoilt: {where}; take another save of it, of an earlier epoch.", "lora")
    return file


def _computable(tensor: Tensor) -> Tensor:
    """Eight-bit floats as sixteen-bit ones, with which everything can be done."""
    return tensor.to(torch.float16) if tensor.is_floating_point() and tensor.dtype not in _FLOATS else tensor


# -- PEFT's configuration ----------------------------------------------------------------------------------------------


def _adapter_config(metadata: Mapping[str, str]) -> Any:
    """PEFT's configuration, which diffusers writes into the metadata."""
    return _json(metadata.get("lora_adapter_metadata", ""))


def _config_beside(path: Path) -> Any:
    """That which PEFT writes beside ``adapter_model.safetensors``."""
    beside = path.with_name("adapter_config.json")
    if path.stem != "adapter_model" or not beside.is_file():
        return None
    return _json(beside.read_text(encoding="utf-8", errors="replace"))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
