"""The LoRAs that are to be merged: files of every kind, naming and base, as one delta a layer, worked out when asked.

A LoRA whose difference depends on the weights that it changes (DoRA, GLoRA, IA3, OFT) is merged as it is on the base
that is given; the others need no base.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from torch import Size, Tensor

from clora_ext.errors import LoraError
from clora_ext.lora.deltas import DenseDelta, LowRank
from clora_ext.lora.differences import DOWN, Parts, low_rank_factors
from clora_ext.lora.files import LoraFile, lora_sizes, read_lora
from clora_ext.lora.header import AGAIN
from clora_ext.lora.kinds import MisfitError, PartsError, Shape, delta_of_parts, kind_of
from clora_ext.merge.layer import FactoredDelta, LayerDelta, MatrixDelta
from clora_ext.merge.naming import written_names

ON_WEIGHTS = ("IA3", "GLoRA", "OFT")
"""Kinds whose difference depends on the layer's own weight, as does every one with DoRA's lengths."""
SDXL = "SDXL"
_TOLD: Mapping[str, str] = {
    "sdxl": SDXL,
    "stable-diffusion-xl": SDXL,
    "sd_v1": "Stable Diffusion 1.x",
    "stable-diffusion-v1": "Stable Diffusion 1.x",
    "sd_v2": "Stable Diffusion 2.x",
    "stable-diffusion-v2": "Stable Diffusion 2.x",
}
"""How ``ss_base_model_version`` and ``modelspec.architecture`` begin, and what they mean."""
_WIDE = re.compile(r"_(conv1|conv2|in_layers_2|out_layers_3|conv_in|conv_out|input_blocks_0_0|out_2|\d_conv|0_op)$")
"""Convolutions of three by three; all others in these models are of one."""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """What somebody says of one LoRA of a merge."""

    path: Path
    ratio: float = 1.0
    """Strength at which it is in the merged file at strength 1."""
    trigger: str = ""
    """The words that call it up; by default those that the file names."""


@dataclass(frozen=True, slots=True)
class MergeLora:
    """One LoRA of a merge, every layer by the name that the merged file will have for it."""

    ingredient: Ingredient
    file: LoraFile
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """Those of the base's layers, by the same names; empty without a base."""
    parts: Mapping[str, Parts] = field(default_factory=dict)
    """Its tensors by layer."""

    @property
    def name(self) -> str:
        """That of its file."""
        return self.file.name

    @property
    def trigger(self) -> str:
        """The words that call it up; empty where nobody says."""
        return self.ingredient.trigger or self.file.trigger

    @property
    def family(self) -> str | None:
        """The kind of model that it was made for, in words; None where neither layers nor metadata tell."""
        return self.file.made_for or told_family(self.file.metadata)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of its layers; those that the base lacks do nothing and are left out."""
        return tuple(layer for layer in self.parts if not self.weights or layer in self.weights)

    def shape(self, layer: str) -> Shape:
        """That of the layer's weight, worked out without its numbers. Raises ``LoraError`` as ``delta``."""
        if layer in self.weights:
            return tuple(self.weights[layer].shape)
        try:
            return _shape(layer, self.parts[layer])
        except PartsError as error:
            raise self._refusal(layer, error) from error

    def rank(self, layer: str) -> int:
        """The most that its delta of ``layer`` can have. Raises ``LoraError`` as ``delta``."""
        parts, shape = self.parts[layer], self.shape(layer)
        largest = min(shape[0], Size(shape[1:]).numel())
        return min(parts[DOWN].shape[0], largest) if DOWN in parts and "dora_scale" not in parts else largest

    def delta(self, layer: str) -> LayerDelta:
        """What it adds to ``layer`` at its ratio. Raises ``LoraError`` where that needs a base or does not fit it."""
        parts = self.parts[layer]
        try:
            return _delta(layer, parts, self.weights.get(layer)).scaled(self.ingredient.ratio)
        except PartsError as error:
            raise self._refusal(layer, error) from error

    def _refusal(self, layer: str, error: PartsError) -> LoraError:
        cure = "choose LoRAs of that base" if isinstance(error, MisfitError) else f"{AGAIN} or leave it out"
        return LoraError(f"LoRA {self.name} can not be merged: layer {layer} {error}; {cure}.", "lora")


def told_family(metadata: Mapping[str, str]) -> str | None:
    """The kind of model that a file's metadata names, in words; None where it names none that is known."""
    for key in ("ss_base_model_version", "modelspec.architecture"):
        told = metadata.get(key, "").lower()
        for start, family in _TOLD.items():
            if told.startswith(start):
                return family
    return None


def read_ingredients(
    ingredients: Sequence[Ingredient], family: str | None = None, weights: Mapping[str, Tensor] | None = None
) -> tuple[MergeLora, ...]:
    """Read the files. ``family`` is the base's kind in words, ``weights`` its layers' by kohya's names, of any naming.

    Without a family the LoRAs tell it. Raises ``LoraError`` for a file that is missing, damaged or no LoRA.
    """
    read = [MergeLora(ingredient, read_lora(ingredient.path)) for ingredient in ingredients]
    family = family or next((lora.family for lora in read if lora.family), None)
    is_xl = family == SDXL
    base = written_names({f"{layer}.weight": weight for layer, weight in (weights or {}).items()}, is_xl=is_xl)
    own = {key.removesuffix(".weight"): weight for key, weight in base.items()}
    return tuple(_renamed(lora, own, is_xl=is_xl) for lora in read)


def _renamed(lora: MergeLora, weights: Mapping[str, Tensor], *, is_xl: bool) -> MergeLora:
    file = replace(lora.file, tensors=written_names(lora.file.tensors, is_xl=is_xl))
    return replace(lora, file=file, weights=weights, parts=file.layers)


def layers_of(loras: Sequence[MergeLora]) -> dict[str, tuple[MergeLora, ...]]:
    """Every layer that one of ``loras`` changes, in the order of its name, and those that do."""
    found: dict[str, list[MergeLora]] = {}
    for lora in loras:
        for layer in lora.layers:
            found.setdefault(layer, []).append(lora)
    return {layer: tuple(found[layer]) for layer in sorted(found)}


def deltas_at(layer: str, loras: Sequence[MergeLora]) -> Iterator[LayerDelta]:
    """What ``loras`` add to ``layer``, without those that do not change it. Raises ``LoraError`` as their ``delta``."""
    found = [lora.delta(layer) for lora in loras if layer in lora.parts]
    shape = max((delta.shape for delta in found), key=len)  # a 1x1 kernel may be written as a matrix
    yield from (replace(delta, shape=shape) for delta in found)


# -- a layer's parts ---------------------------------------------------------------------------------------------------


def _delta(layer: str, parts: Parts, weight: Tensor | None) -> LayerDelta:
    stand_in = torch.zeros(()).expand(_shape(layer, parts)) if weight is None else weight
    found, shape = delta_of_parts(parts, stand_in, 1.0), tuple(stand_in.shape)
    if isinstance(found, LowRank):
        up = found.up.flatten(1) * found.scale
        return FactoredDelta(shape, up, found.down.flatten(1))
    dense = cast(DenseDelta, found)
    whole = torch.zeros(shape) if dense.weight is None else dense.weight
    return MatrixDelta(shape, whole.reshape(shape[0], -1), dense.bias)


def needs_base(path: Path) -> bool:
    """Whether the LoRA in a file can be merged with its base alone, by the file's header. Raises ``LoraError``."""
    try:
        return any(_on_weights(parts) or kind_of(parts).name == "bias" for parts in lora_sizes(path).layers.values())
    except PartsError:
        return False  # and is refused when its numbers are read


def _on_weights(parts: Parts) -> str | None:
    """The kind of a layer whose difference depends on the base's weights; None for others. Raises ``PartsError``."""
    if "dora_scale" in parts:
        return "DoRA"
    name = kind_of(parts).name
    return name if name in ON_WEIGHTS else None


def _shape(layer: str, parts: Parts) -> Shape:
    """The shape of a layer's weight, by what a LoRA has for it. Raises ``PartsError`` where only a base tells."""
    kind, what = kind_of(parts), _on_weights(parts)
    if what is not None:
        raise PartsError(f"is {what}, which depends on the weights that it changes: give the base")
    if kind.name == "bias":
        raise PartsError("has a bias alone, which does not tell how large the layer is: give the base")
    sizes = {name: part.to("meta") for name, part in parts.items()}
    difference = kind.difference(sizes, torch.empty(0, device="meta"))
    shape = tuple(difference.shape)
    if len(shape) != 2:
        return shape
    down = low_rank_factors(sizes)[0] if DOWN in parts else None
    if down is not None and down.dim() == 4:
        return shape[0], *down.shape[1:]
    return (shape[0], shape[1] // 9, 3, 3) if _WIDE.search(layer) and shape[1] % 9 == 0 else shape
