"""What a merge can not be made of, told before any work; and what somebody should know before it."""

import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from pathlib import Path

import torch
from torch import Size, Tensor

from clora_ext.errors import LoraError
from clora_ext.lora.kinds import Shape
from clora_ext.lora.layers import require_fit
from clora_ext.merge.inputs import MergeLora, layers_of
from clora_ext.merge.output import PRECISIONS, OutputForm

FASTER = re.compile(r"(?<![a-z])(turbo|lcm|lightning|hyper-?sd\w*|dmd2?|pcm|tcd)(?![a-z])", re.IGNORECASE)
"""Words in the names of LoRAs that make a model draw in few steps."""


def checked(loras: Sequence[MergeLora], family: str | None = None) -> tuple[str, ...]:
    """Warnings on LoRAs that can be merged, on a base of ``family`` where there is one. Raises ``LoraError``."""
    if not loras:
        raise LoraError("There is no LoRA to merge: choose two or more.", field="lora")
    for lora in loras:
        _require_whole(lora)
    _require_no_twins(loras)
    _require_one_family(loras, family)
    notes = tuple(chain.from_iterable(_fit(lora, family) for lora in loras))
    _require_one_size(loras)
    return (*notes, *_warnings(loras))


def require_room(path: Path, needed: int, loras: Sequence[MergeLora], *, overwrite: bool) -> None:
    """That the merged file of ``needed`` bytes can be written to ``path``. Raises ``LoraError``."""
    if any(lora.ingredient.path.resolve() == path.resolve() for lora in loras):
        raise LoraError(f"{path.name} is one of the LoRAs that are merged: choose another name.", field="name")
    if path.exists() and not overwrite:
        raise LoraError(f"{path.name} is there already: choose another name, or allow overwriting.", field="name")
    if not path.parent.is_dir():
        raise LoraError(f"There is no folder {path.parent.name} for {path.name}: make it first.", field="name")
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        room = f"{needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free"
        raise LoraError(f"There is no room for {path.name}: {room}; free some, or choose a lower rank.", field="name")


def most_bytes(loras: Sequence[MergeLora], form: OutputForm) -> int:
    """The most that the merged file of ``loras`` needs; it is smaller where ranks turn out smaller."""
    numbers = 0
    for layer, those in layers_of(loras).items():
        out, inputs = _size(those[0].shape(layer))
        ranks = sum(lora.rank(layer) for lora in those)
        rank = ranks if form.rank is None else min(form.rank, ranks)
        whole = out * inputs
        numbers += whole if form.kind == "full" else min(whole, rank * (out + inputs))
    return numbers * torch.empty(0, dtype=PRECISIONS[form.dtype]).element_size()


# -- refusals ----------------------------------------------------------------------------------------------------------


def _require_whole(lora: MergeLora) -> None:
    ratio = lora.ingredient.ratio
    if not math.isfinite(ratio) or not ratio:
        msg = f"LoRA {lora.name} has the ratio {ratio:g}: choose a number other than 0, or leave it out."
        raise LoraError(msg, field="ratio")
    empty = next((key for key, part in lora.file.tensors.items() if not part.numel()), None)
    if empty is not None:
        msg = f"LoRA {lora.name} has a layer of rank 0, {empty}: take another save of it, or leave it out."
        raise LoraError(msg, field="lora")


def _require_no_twins(loras: Sequence[MergeLora]) -> None:
    for one, other in combinations(loras, 2):
        if _are_equal(one.file.tensors, other.file.tensors):
            names = one.name if one.name == other.name else f"{one.name}, which is also called {other.name},"
            raise LoraError(f"LoRA {names} is there twice: keep one, and give that the ratio of both.", field="lora")


def _are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(part, other[key]) for key, part in one.items())


def _require_one_family(loras: Sequence[MergeLora], family: str | None) -> None:
    by_family: dict[str, list[str]] = {}
    for lora in loras:
        if lora.family is not None:
            by_family.setdefault(lora.family, []).append(lora.name)
    if len(by_family) > 1:
        told = "; ".join(f"{len(names)} for {kind} ({', '.join(names)})" for kind, names in by_family.items())
        raise LoraError(f"These LoRAs are of different bases: {told}. Choose those of one.", field="lora")
    if family is not None and by_family and family not in by_family:
        kind = next(iter(by_family))
        msg = f"The LoRAs were made for {kind}, and the base is {family}: choose a base of their kind."
        raise LoraError(msg, field="base")


def _fit(lora: MergeLora, family: str | None) -> tuple[str, ...]:
    """Notes on layers and tensors that are strange; without a base, a LoRA's own layers are all known."""
    strange, count = lora.file.strange, len(lora.file.tensors)
    if 2 * len(strange) > count:
        told = f"{len(strange)} of its {count} tensors are of no layer, {strange[0]} first"
        raise LoraError(f"LoRA {lora.name} does not fit: {told}; choose one for Stable Diffusion.", field="lora")
    shapes = {layer: lora.shape(layer) for layer in lora.weights or lora.layers}
    return require_fit(lora.file.without_numbers(), shapes, family)


def _require_one_size(loras: Sequence[MergeLora]) -> None:
    for layer, those in layers_of(loras).items():
        sizes = {lora.name: _size(lora.shape(layer)) for lora in those}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{out} x {inputs} in {name}" for name, (out, inputs) in sizes.items())
            msg = f"These LoRAs are of different bases: layer {layer} has {told} numbers. Choose those of one."
            raise LoraError(msg, field="lora")


def _size(shape: Shape) -> tuple[int, int]:
    """Outputs, and inputs of every place in the kernel."""
    return shape[0], Size(shape[1:]).numel()


# -- warnings ----------------------------------------------------------------------------------------------------------


def _warnings(loras: Sequence[MergeLora]) -> Iterator[str]:
    for lora in loras:
        found = FASTER.search(f"{lora.name} {lora.file.metadata.get('modelspec.title', '')}")
        if found:
            yield (
                f"LoRA {lora.name} looks as if it makes the model draw in few steps ({found[0]}): merged with others it"
                " blurs them; leave it out, and add it in the prompt"
            )
    for one, other in combinations(loras, 2):
        shared = _phrases(one) & _phrases(other)
        if shared:
            words = ", ".join(sorted(shared))
            yield f"LoRAs {one.name} and {other.name} share the trigger “{words}”: merged, it calls up both at once"
    for lora in loras:
        if not lora.trigger:
            yield f"LoRA {lora.name} names no trigger: say its words, or its concept can not be told from the others"


def _phrases(lora: MergeLora) -> set[str]:
    return {" ".join(phrase.lower().split()) for phrase in lora.trigger.split(",")} - {""}
