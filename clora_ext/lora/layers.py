"""From a LoRA file to the layers of a model: does it fit, and what does it add to each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from clora_ext.errors import LoraError
from clora_ext.lora.deltas import Delta
from clora_ext.lora.files import LoraFile
from clora_ext.lora.header import AGAIN
from clora_ext.lora.kinds import MisfitError, PartsError, Shape, delta_of_parts, fitting_kind
from clora_ext.lora.names import TEXT, UNET

ADAPTED = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)
"""Layers that a LoRA can change, WebUI's own list (extensions-builtin/Lora/lora_patches.py)."""
Layers = Mapping[str, nn.Module]
"""The layers of a model by kohya's names."""
_PREFIXES: Mapping[int, tuple[str, ...]] = {1: (f"{TEXT}_",), 2: (f"{TEXT}1_", f"{TEXT}2_")}
"""kohya's beginnings of the names of text encoders' layers, by how many encoders a model has."""


def unet_layers(unet: nn.Module, other_names: Mapping[str, str] | None = None) -> dict[str, nn.Module]:
    """The layers of a UNet, as they are named in it, and by ``other_names``, which say what a layer is called there."""
    own = dict(unet.named_modules())
    return _keyed(UNET, own | {other: own[name] for other, name in (other_names or {}).items()})


def text_layers(encoders: Sequence[nn.Module]) -> dict[str, nn.Module]:
    """The layers of all text encoders, first to last."""
    found: dict[str, nn.Module] = {}
    for prefix, encoder in zip(_PREFIXES[len(encoders)], encoders, strict=True):
        inner = "" if hasattr(encoder, "text_model") else "text_model_"  # flattened in transformers 5.6
        found |= _keyed(prefix + inner, dict(encoder.named_modules()))
    return found


def _keyed(prefix: str, layers: Layers) -> dict[str, nn.Module]:
    return {prefix + name.replace(".", "_"): layer for name, layer in layers.items() if isinstance(layer, ADAPTED)}


def deltas_of(file: LoraFile, layers: Layers, multiplier: float) -> dict[nn.Module, Delta]:
    """What the file adds to those of its layers that ``layers`` has, at ``multiplier``. Raises ``LoraError``."""
    found: dict[nn.Module, Delta] = {}
    for name, parts in file.layers.items():
        if name in layers:
            weight = cast(Tensor, layers[name].weight)
            try:
                found[layers[name]] = delta_of_parts(parts, weight, multiplier)
            except PartsError as error:
                raise _refusal(file, name, error, None) from error
    return found


def require_fit(file: LoraFile, shapes: Mapping[str, Shape], model: str | None) -> tuple[str, ...]:
    """Notes on a file for a model, whose kind is ``model`` in words and whose layers have ``shapes``.

    Computes nothing. Raises ``LoraError`` where a layer is not whole or has other sizes, and where more layers are
    strange to the model than not; fewer are left out, as WebUI does, and told in a note.
    """
    layers = file.layers
    unknown = [name for name in layers if name not in shapes]
    if file.made_for is not None and model is not None and file.made_for != model and unknown:
        raise _for_another(file, model)
    if 2 * len(unknown) > len(layers):
        counted = f"{len(unknown)} of its {len(layers)} layers are not in it, {unknown[0]} first"
        msg = f"LoRA {file.name} does not fit this checkpoint: {counted}; choose one that was made for it."
        raise LoraError(msg, field="lora")
    for name in [name for name in layers if name in shapes]:
        try:
            fitting_kind(layers[name], shapes[name])
        except PartsError as error:
            raise _refusal(file, name, error, model) from error
    return tuple(_left_out(file, unknown))


def _left_out(file: LoraFile, unknown: Sequence[str]) -> Iterator[str]:
    if unknown:
        counted = f"{len(unknown)} of {len(file.layers)} layers of LoRA {file.name}"
        yield f"{counted} are not in this checkpoint and do nothing ({unknown[0]} first)"
    if file.strange:
        counted = f"{len(file.strange)} tensors of LoRA {file.name}"
        yield f"{counted} are of no layer and do nothing ({file.strange[0]} first)"


def told_apart(file: LoraFile, model: str | None) -> str | None:
    """A sentence where the layers of a file are those of another kind of model than ``model``, in words; else None."""
    if model is None or file.made_for in (None, model):
        return None
    return _for_another(file, model).message


def _for_another(file: LoraFile, model: str) -> LoraError:
    msg = f"LoRA {file.name} was made for {file.made_for}, this checkpoint is {model}: choose a LoRA of its kind."
    return LoraError(msg, field="lora")


def _refusal(file: LoraFile, layer: str, error: PartsError, model: str | None) -> LoraError:
    if not isinstance(error, MisfitError):
        cure = f"{AGAIN}, or save it again with its trainer"
        return LoraError(f"LoRA {file.name} is not whole: layer {layer} {error}; {cure}.", field="lora")
    if model is not None and file.made_for not in (None, model):
        return _for_another(file, model)
    cure = f"choose one that was made for it, or {AGAIN}"
    return LoraError(f"LoRA {file.name} does not fit this checkpoint: layer {layer} {error}; {cure}.", field="lora")


def shapes_of(layers: Layers) -> dict[str, Shape]:
    """The sizes of every layer's weight."""
    return {name: tuple(cast(Tensor, layer.weight).shape) for name, layer in layers.items()}
