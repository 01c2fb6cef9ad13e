"""LoRA files as the host's networks: checked before anything is drawn, and put in the names that the host reads."""

import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from modules import sd_models, shared
from torch import Tensor, nn

from clora_ext.errors import LoraError
from clora_ext.hosts.webui.drive.catalogue import builtin, file_of
from clora_ext.hosts.webui.drive.families import loaded_family
from clora_ext.hosts.webui.drive.mends import mend, with_known_parts
from clora_ext.lora.differences import DOWN
from clora_ext.lora.files import LoraFile, lora_of, lora_sizes, read_lora
from clora_ext.lora.kinds import OUT_OF_MEMORY, Shape
from clora_ext.lora.layers import require_fit, told_apart
from clora_ext.lora.names import for_encoders
from clora_ext.patching import replaced

_XL_NAMES: Mapping[str, str] = {
    "lora_unet_up_blocks_0_upsamplers_0_conv": "lora_unet_output_blocks_2_2_conv",
    "lora_unet_add_embedding_linear_1": "lora_unet_label_emb_0_0",
    "lora_unet_add_embedding_linear_2": "lora_unet_label_emb_0_2",
}
"""diffusers' names of layers of SDXL that the host does not know, and sgm's."""
_PROJECTION = re.compile(r"(.+)_(?:q|k|v|out)_proj")
_PROJECTIONS = ("q", "k", "v", "out")
_PROBE = "diff"
"""A part that the host takes for any layer, whatever its sizes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the host puts a layer of a file."""

    key: str
    """Its name in the host's ``network_layer_mapping``."""
    shape: Shape
    """Of its weight."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """A file that fits the loaded checkpoint."""

    file: LoraFile
    """Without its numbers."""
    places: Mapping[str, Place]
    """By the file's layers."""
    notes: tuple[str, ...]
    mark: str
    """Changes with the file and with the kind of checkpoint."""

    def read_by(self, net: Any) -> bool:
        """Whether the host's own network of the file has all that it has to."""
        keys = {place.key for place in self.places.values()}
        return self.file.as_written and keys <= net.modules.keys() and not _torn(self.places)


def fitting(name: str) -> Fitting:
    """The file of a LoRA, checked. Raises ``LoraError`` where it is damaged or does not fit the loaded checkpoint."""
    on_disk, family = file_of(name), loaded_family(shared.sd_model)
    path = Path(on_disk.filename)
    try:
        status = path.stat()
    except OSError as error:
        msg = f"The file of LoRA {name} is gone; refresh the list of LoRAs and choose another."
        raise LoraError(msg, field="lora") from error
    file = _checked(path, status.st_mtime_ns, status.st_size)
    file = LoraFile(file.name, _for_model(file.tensors), file.metadata, file.as_written)
    places = _places(file.layers, on_disk)
    notes = require_fit(file, {layer: place.shape for layer, place in places.items()}, family)
    if any(parts.keys() >= {DOWN, "diff_b"} for parts in file.layers.values()):
        notes += (f"biases that LoRA {name} has beside its matrices are not read by WebUI and do nothing",)
    return Fitting(file, places, notes, f"{status.st_mtime_ns:x} for {family}")


def fault(name: str) -> str | None:
    """A sentence where a file is cut off, or for another kind of model than the loaded one, by its header alone."""
    path, model = Path(file_of(name, refresh=False).filename), sd_models.model_data.sd_model
    if path.suffix.lower() != ".safetensors" or model is None:
        return None
    return _fault(path, _stamp(path), loaded_family(model))


def _stamp(path: Path) -> tuple[int, ...]:
    """Another one after whatever may change how the file is read, its rights too."""
    try:
        status = path.stat()
    except OSError:
        return (time.monotonic_ns(),)
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size


@lru_cache(maxsize=256)
def _fault(path: Path, _stamp: tuple[int, ...], family: str | None) -> str | None:
    """Kept, as the page asks at every key."""
    try:
        return told_apart(lora_sizes(path), family)
    except LoraError as error:
        return error.message


@lru_cache(maxsize=64)
def _checked(path: Path, changed: int, size: int) -> LoraFile:
    return _read(path).without_numbers()


def _read(path: Path) -> LoraFile:
    if path.suffix.lower() == ".safetensors":
        return read_lora(path)
    try:
        read = sd_models.read_state_dict(str(path), map_location="cpu")
        tensors = {str(key): tensor for key, tensor in read.items() if isinstance(tensor, Tensor)}
    except OUT_OF_MEMORY:
        raise
    except Exception as error:  # whatever the host's reader raises for a broken file
        msg = f"LoRA {path.stem} can not be read; download it again, or save it as safetensors."
        raise LoraError(msg, field="lora") from error
    return lora_of(path.stem, tensors, {})


def _for_model(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By the names that the host reads for the loaded checkpoint."""
    is_xl = bool(getattr(shared.sd_model, "is_sdxl", False))
    found: dict[str, Tensor] = {}
    for key, tensor in for_encoders(tensors, 2 if is_xl else 1).items():
        layer, dot, part = key.partition(".")
        found[_XL_NAMES.get(layer, layer) + dot + part if is_xl else key] = tensor
    return found


def _places(layers: Iterable[str], on_disk: Any) -> dict[str, Place]:
    """Where the host puts layers, by its own rules: a network of parts that fit anywhere."""
    probe = _load(on_disk, "probe", {f"{layer}.{_PROBE}": torch.empty(0) for layer in layers})
    found: dict[str, Place] = {}
    for key, module in probe.modules.items():
        found[module.network_key.removesuffix(f".{_PROBE}")] = Place(key, tuple(module.shape))
    return found


def _load(on_disk: Any, name: str, tensors: Mapping[str, Tensor]) -> Any:
    """The host's network object from tensors."""
    with _reading(on_disk.filename, tensors):
        return builtin().load_network(name, on_disk)


@contextmanager
def _reading(filename: str, tensors: Mapping[str, Tensor]) -> Generator[None, None, None]:
    """While inside, the host reads ``tensors`` from that file."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def read_state_dict(file: str, *args: Any, **kwargs: Any) -> Any:
            return dict(tensors) if file == filename else original(file, *args, **kwargs)

        return read_state_dict

    with replaced(sd_models, "read_state_dict", wrap):
        yield


# -- networks of ours -------------------------------------------------------------------------------------------------

_kept: dict[str, tuple[str, Any]] = {}


def own_network(name: str, found: Fitting) -> Any:
    """The host's network object of a file that the host does not read by itself; kept for the next job.

    It has a name of its own, by which the host tells which layers it has merged. Raises ``LoraError``.
    """
    mark, net = _kept.get(name, ("", None))
    if mark == found.mark:
        return net
    on_disk = file_of(name)
    tensors = _for_model(_read(Path(on_disk.filename)).tensors)
    tensors |= _still(found.places) | _completed(found)
    try:
        net = _load(on_disk, f"{name} ({found.mark})", with_known_parts(tensors))
    except OUT_OF_MEMORY:
        raise
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        msg = f"LoRA {name} is of a kind that WebUI can not apply to this checkpoint; choose another."
        raise LoraError(msg, field="lora") from error
    net.mentioned_name = name
    for layer, place in found.places.items():
        mend(net.modules[place.key], found.file.layers[layer])
    _kept[name] = found.mark, net
    return net


def keep_only(names: Sequence[str]) -> None:
    """Let go of networks of ours that are not among ``names``."""
    for name in set(_kept) - set(names):
        del _kept[name]


def _completed(found: Fitting) -> dict[str, Tensor]:
    """Parts that change nothing, and without which the host does not know a kind."""
    added: dict[str, Tensor] = {}
    for layer, parts in found.file.layers.items():
        if layer not in found.places:
            continue
        shape = found.places[layer].shape
        if "a1.weight" in parts and "alpha" not in parts:
            added[f"{layer}.alpha"] = torch.tensor(1.0)
        if "w_norm" in parts and "b_norm" not in parts:
            added[f"{layer}.b_norm"] = torch.zeros(shape)
        if parts.keys() <= {"diff_b", "alpha"}:
            added[f"{layer}.diff"] = torch.zeros(shape)
    return added


def _torn(places: Mapping[str, Place]) -> dict[str, Place]:
    """Layers that stand for a projection that a file leaves out while it has another one of the same attention.

    OpenCLIP keeps all in one module, and the host applies a LoRA to it only where it has all four.
    """
    found: dict[str, Place] = {}
    keys = {place.key for place in places.values()}
    for layer, place in places.items():
        own, attention = _PROJECTION.fullmatch(layer), _PROJECTION.fullmatch(place.key)
        if own is None or attention is None or not _is_one_module(attention[1]):
            continue
        for side in _PROJECTIONS:
            key = f"{attention[1]}_{side}_proj"
            if key not in keys:
                found[f"{own[1]}_{side}_proj"] = Place(key, place.shape)
    return found


def _is_one_module(key: str) -> bool:
    return isinstance(shared.sd_model.network_layer_mapping.get(key), nn.MultiheadAttention)


def _still(places: Mapping[str, Place]) -> dict[str, Tensor]:
    """Factors of zeros for the projections that a file leaves out."""
    found: dict[str, Tensor] = {}
    for layer, place in _torn(places).items():
        out, inputs = place.shape
        found[f"{layer}.lora_down.weight"] = torch.zeros(1, inputs)
        found[f"{layer}.lora_up.weight"] = torch.zeros(out, 1)
    return found
