"""A merge that is under way, in a folder: every file is whole or not there, so that nothing done is done again."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from clora_ext.merge.features import FeatureTensors
from clora_ext.merge.layer import FactoredDelta, LayerDelta, MatrixDelta
from clora_ext.merge.output import WrittenLayer
from clora_ext.merge.solve import Solved

_JOB = "job.json"
_UNFINISHED = ".part"


class Store:
    """The folder of one merge, told apart by its ``job``; what another has left there goes when this one begins."""

    def __init__(self, folder: Path, job: Mapping[str, object]) -> None:
        self.folder = folder
        self._told = json.dumps(job, sort_keys=True)

    def begin(self) -> None:
        """Make the folder, or go on with what the same job has left there."""
        there = self.folder / _JOB
        if self.folder.is_dir() and not (there.is_file() and there.read_text(encoding="utf-8") == self._told):
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not there.is_file():
            part = there.with_suffix(_UNFINISHED)
            part.write_text(self._told, encoding="utf-8")
            part.replace(there)

    def end(self) -> None:
        """Remove the folder: the file is written."""
        shutil.rmtree(self.folder)

    def _save(self, name: str, tensors: FeatureTensors, told: Mapping[str, object]) -> None:
        path = self.folder / name
        part = path.with_suffix(_UNFINISHED)
        whole = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
        save_file(whole, str(part), {"told": json.dumps(told)})
        part.replace(path)

    # -- features, of one group of layers under one LoRA ---------------------------------------------------------------

    def has_features(self, group: str, lora: int) -> bool:
        """Whether they are there."""
        return (self.folder / f"{group}-{lora}.features").is_file()

    def save_features(self, group: str, lora: int, features: Mapping[str, FeatureTensors]) -> None:
        """Keep those of every layer."""
        flat: dict[str, Tensor] = {}
        for layer, tensors in features.items():
            flat |= {f"{layer}.{name}": tensor for name, tensor in tensors.items()}
        self._save(f"{group}-{lora}.features", flat, {})

    def features(self, group: str, loras: int, layer: str, device: torch.device) -> list[FeatureTensors]:
        """A layer's, under each LoRA; no more than that is read."""
        found: list[FeatureTensors] = []
        with ExitStack() as stack:
            for lora in range(loras):
                path = self.folder / f"{group}-{lora}.features"
                file = stack.enter_context(safe_open(str(path), framework="pt"))
                names = [name for name in file.keys() if name.startswith(f"{layer}.")]  # noqa: SIM118 - not a mapping
                found.append({name.rpartition(".")[2]: file.get_tensor(name).to(device) for name in names})
        return found

    def drop_features(self, group: str, loras: int) -> None:
        """Remove them: their layers are merged."""
        for lora in range(loras):
            (self.folder / f"{group}-{lora}.features").unlink(missing_ok=True)

    # -- merged layers -------------------------------------------------------------------------------------------------

    def save(self, layer: str, solved: Solved) -> None:
        """Keep a layer's merged delta."""
        delta = solved.delta
        tensors = {"bias": delta.bias} if delta.bias is not None else {}
        if isinstance(delta, FactoredDelta):
            tensors |= {"up": delta.up, "down": delta.down}
        else:
            tensors["matrix"] = delta.matrix
        told = {"shape": delta.shape, "error": solved.error, "ridge": solved.ridge, "steps": solved.steps}
        self._save(f"{layer}.merged", tensors, told)

    def merged(self, layers: Sequence[str]) -> dict[str, Solved]:
        """Those of ``layers`` that are there."""
        paths = {layer: self.folder / f"{layer}.merged" for layer in layers}
        return {layer: _solved(path) for layer, path in paths.items() if path.is_file()}

    # -- anything else of a merge --------------------------------------------------------------------------------------

    def keep(self, name: str, tensors: FeatureTensors) -> None:
        """Keep tensors under a name of their own, in the place of what was there."""
        self._save(f"{name}.kept", tensors, {})

    def kept(self, name: str) -> FeatureTensors | None:
        """Those of that name; None where there are none."""
        path = self.folder / f"{name}.kept"
        return _read(path)[1] if path.is_file() else None

    # -- layers as the file will have them -----------------------------------------------------------------------------

    def save_written(self, layer: str, written: WrittenLayer) -> None:
        """Keep a layer that is ready for the file."""
        self._save(f"{layer}.written", written.tensors, {"rank": written.rank, "error": written.error})

    def written(self, layer: str) -> WrittenLayer | None:
        """The layer as it was kept; None where it was not."""
        path = self.folder / f"{layer}.written"
        if not path.is_file():
            return None
        told, tensors = _read(path)
        return WrittenLayer(tensors, **told)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            parts = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            return json.loads(file.metadata()["told"]), parts
    except SafetensorError as error:
        raise OSError(f"{path} is damaged; remove it, and the layer is merged again") from error


def _solved(path: Path) -> Solved:
    told, parts = _read(path)
    shape = tuple(told.pop("shape"))
    if "up" in parts:
        delta: LayerDelta = FactoredDelta(shape, parts["up"], parts["down"])
    else:
        delta = MatrixDelta(shape, parts["matrix"], parts.get("bias"))
    return Solved(delta, **told)
