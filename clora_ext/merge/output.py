"""The merged file: layers as kohya's names and numbers, whole or not at all."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from clora_ext.errors import LoraError
from clora_ext.lora.differences import DOWN, UP
from clora_ext.merge.layer import LayerDelta
from clora_ext.merge.lowrank import rank_of_energy, relative_error, singular

PRECISIONS: Mapping[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
AUTO_ENERGY = 0.9999
"""The share of a layer's squares that ``auto`` keeps: an error of 1 %."""
PART = ".part"
"""The ending of a file that is not whole yet; WebUI does not list it."""
Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class OutputForm:
    """How layers are written."""

    kind: Literal["low_rank", "full"] = "low_rank"
    rank: int | None = None
    """Of every layer at most; None takes as many as ``energy`` needs."""
    conv_rank: int | None = None
    """The same of convolutions larger than 1x1; None is as ``rank``."""
    energy: float = AUTO_ENERGY
    dtype: str = "fp16"

    def rank_at(self, delta: LayerDelta, values: Tensor) -> int:
        """That of a layer with those singular values."""
        is_wide = len(delta.shape) == 4 and delta.shape[2:] != (1, 1)
        asked = self.conv_rank if is_wide and self.conv_rank is not None else self.rank
        return rank_of_energy(values, self.energy) if asked is None else max(min(asked, len(values)), 1)


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """One layer as it is in the file."""

    tensors: Tensors
    """By the end of their names."""
    rank: int | None
    """None for a whole difference."""
    error: float
    """What is missing of the layer's delta, rank and rounding together, as a share of its Frobenius norm."""


def written_layer(delta: LayerDelta, form: OutputForm) -> WrittenLayer:
    """A layer's delta as ``form`` has it. Low rank is left where a whole difference is smaller or has to carry a bias.

    Raises ``LoraError`` where half precision does not hold its numbers.
    """
    if form.kind == "full" or delta.bias is not None or len(delta.shape) == 1:
        return _whole(delta, form)
    u, values, v = singular(delta)
    rank = form.rank_at(delta, values)
    if form.rank is None and rank * (len(u) + v.shape[1]) >= delta.shape[0] * v.shape[1]:
        return _whole(delta, form)
    root = values[:rank].sqrt()
    up, down = _rounded(u[:, :rank] * root, form), _rounded(root[:, None] * v[:rank], form)
    ones = [1] * (len(delta.shape) - 2)
    tensors = {DOWN: down.reshape(rank, *delta.shape[1:]), UP: up.reshape(-1, rank, *ones)}
    tensors["alpha"] = torch.tensor(float(rank), dtype=PRECISIONS[form.dtype])
    return WrittenLayer(tensors, rank, relative_error(up.float() @ down.float(), delta))


def _whole(delta: LayerDelta, form: OutputForm) -> WrittenLayer:
    weight = _rounded(delta.matrix, form)
    error = relative_error(weight.float(), delta)
    names = ("w_norm", "b_norm") if len(delta.shape) == 1 else ("diff", "diff_b")
    tensors = {names[0]: weight.reshape(delta.shape)}
    if delta.bias is not None or len(delta.shape) == 1:  # WebUI reads a norm with both alone
        bias = delta.bias if delta.bias is not None else torch.zeros(delta.shape[0])
        tensors[names[1]] = _rounded(bias, form)
    return WrittenLayer(tensors, None, error)


def _rounded(tensor: Tensor, form: OutputForm) -> Tensor:
    found = tensor.to("cpu", PRECISIONS[form.dtype]).contiguous()
    if not torch.isfinite(found).all():
        cure = "choose bf16 or fp32" if form.dtype == "fp16" else "lower the ratios, or take other saves of the LoRAs"
        raise LoraError(f"The merged numbers are too large for {form.dtype}: {cure}.", field="dtype")
    return found


# -- the file ----------------------------------------------------------------------------------------------------------


def write_merged(
    path: Path, layers: Mapping[str, WrittenLayer], metadata: Mapping[str, str], *, overwrite: bool = False
) -> None:
    """Write the file and WebUI's note beside it, each at once: a reader finds the old file, the new one or none.

    A note that is there already stays. Raises ``LoraError`` where the file is there and not to be overwritten.
    """
    if path.exists() and not overwrite:
        raise LoraError(f"{path.name} is there already: choose another name, or allow overwriting.", field="name")
    tensors: Tensors = {}
    for name, layer in layers.items():
        tensors |= {f"{name}.{part}": tensor for part, tensor in layer.tensors.items()}
    kohyas = {key: value for key, value in metadata.items() if key.startswith("ss_")}

    def write(part: Path) -> None:
        save_file(tensors, str(part), kohyas)  # kohya's legacy hash is that of a file with these alone
        save_file(tensors, str(part), {**metadata, **_hashes(part)})

    _at_once(path, write)
    note = path.with_suffix(".json")
    if not note.exists():
        text = json.dumps(_note(metadata), ensure_ascii=False, indent=4)
        _at_once(note, lambda part: _write_text(part, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _at_once(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside ``path`` and put that in its place, for whoever may read other files; nothing is left of what
    fails.
    """
    part = path.with_name(path.name + PART)
    try:
        part.unlink(missing_ok=True)
        part.touch()
        usual = part.stat().st_mode  # safetensors' own files are for their writer alone
        write(part)
        part.chmod(usual)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        msg = f"{path.name} can not be written ({error}): see to the folder and its room; nothing was changed."
        raise LoraError(msg, field="name") from error
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _hashes(path: Path) -> dict[str, str]:
    """kohya's two: of all tensors' bytes, and of 64 KiB behind the first MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(0x100000)
        legacy = hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
        file.seek(0)
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while block := file.read(1 << 20):
            digest.update(block)
    return {"sshs_model_hash": digest.hexdigest(), "sshs_legacy_hash": legacy}


_SD_VERSIONS = {"sd_v1": "SD1", "sd_v2": "SD2", "sdxl": "SDXL"}


def _note(metadata: Mapping[str, str]) -> dict[str, str | float]:
    """WebUI's own words on a LoRA, which its card puts into the prompt."""
    told = metadata.get("ss_base_model_version", "")
    version = next((words for start, words in _SD_VERSIONS.items() if told.startswith(start)), "Unknown")
    text = metadata.get("modelspec.trigger_phrase", "")
    return {"activation text": text, "preferred weight": 1.0, "sd version": version}
