"""A whole merge: text encoders first, then what cross-attention reads of their texts, then all other layers.

Each stage sees the layers of those before it merged, and its own under one LoRA at a time, as the paper has it. What
is collected and what is solved lies in a ``Store`` as soon as it is there, so a merge that is ended at any moment goes
on where it was. Layers are collected in groups whose features fit the memory that may be used; a stage of several
groups draws its pictures once for each.
"""

from collections import ChainMap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from clora_ext.merge.features import Features, seen
from clora_ext.merge.layer import FactoredDelta, LayerDelta, MatrixDelta
from clora_ext.merge.methods import MergeMethod
from clora_ext.merge.precision import full_precision
from clora_ext.merge.solve import Solved
from clora_ext.merge.span import LoraSpan
from clora_ext.merge.store import Store

BUDGET = 2**30
"""Bytes of features that are collected at once, where nothing else is said."""
_READS_TEXT = ("_attn2_to_k", "_attn2_to_v")


class Stage(Enum):
    """What is merged together, in this order."""

    TEXT = "text"
    CROSS = "cross"
    PICTURE = "picture"


def stage_of(layer: str) -> Stage:
    """The stage of a layer by kohya's name."""
    if layer.startswith("lora_te"):
        return Stage.TEXT
    return Stage.CROSS if layer.endswith(_READS_TEXT) else Stage.PICTURE


@runtime_checkable
class Merged(Protocol):
    """A LoRA that is to be merged."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that it changes, by kohya's names."""
        ...

    def rank(self, layer: str) -> int:
        """The most that its delta of one of them can have."""
        ...

    def delta(self, layer: str) -> LayerDelta:
        """What it adds to one of them."""
        ...


See = Callable[[str, Tensor, bool], None]
"""Told of a layer, its input in a call, and whether that is held out."""


@runtime_checkable
class Source(Protocol):
    """A host that draws with each LoRA."""

    device: torch.device
    modules: Mapping[str, nn.Module]
    """The model's layers by kohya's names."""

    def show(
        self, stage: Stage, lora: int, active: Mapping[str, LayerDelta], watched: Collection[str], see: See
    ) -> None:
        """Run the prompts of a LoRA with the deltas ``active``, and tell the inputs of the layers ``watched``."""
        ...


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """Layers whose features are collected at once."""

    name: str
    stage: Stage
    layers: tuple[str, ...]
    nbytes: int
    """Of the features under one LoRA, at most."""


class Merge:
    """The LoRAs ``loras`` of ``source`` by ``method``. ``tell`` is called with what is done, in units of ``total``."""

    def __init__(
        self,
        loras: Sequence[Merged],
        source: Source,
        method: MergeMethod,
        store: Store,
        budget: int = BUDGET,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.loras, self.source, self.method, self.store, self.tell = loras, source, method, store, tell
        changed = set().union(*(lora.layers for lora in loras))
        names = sorted(changed & set(source.modules))
        self.groups = list(self._grouped(names, budget))

    @property
    def total(self) -> int:
        """Units of work: a LoRA's features of a group, and a layer."""
        return sum(len(self.loras) + len(group.layers) for group in self.groups)

    @property
    def memory_bytes(self) -> int:
        """The most that features take in memory: those of a group under one LoRA."""
        return max((group.nbytes for group in self.groups), default=0)

    @property
    def disk_bytes(self) -> int:
        """The most that they take in the store's folder: those of a group under all."""
        return self.memory_bytes * len(self.loras)

    def run(self) -> dict[str, Solved]:
        """Every layer merged."""
        self.store.begin()
        found: dict[Stage, dict[str, Solved]] = {stage: {} for stage in Stage}
        for group in self.groups:
            before = ChainMap(*(found[stage] for stage in Stage if stage is not group.stage))
            merged = {layer: solved.delta for layer, solved in before.items()}
            found[group.stage] |= self._group(group, merged)
        return dict(ChainMap(*found.values()))

    # -- groups --------------------------------------------------------------------------------------------------------

    def _grouped(self, names: Sequence[str], budget: int) -> Iterator[LayerGroup]:
        for stage in Stage:
            layers: list[str] = []
            size, number = 0, 0
            for layer in [name for name in names if stage_of(name) is stage]:
                more = self._nbytes(layer)
                if layers and size + more > budget:
                    yield LayerGroup(f"{stage.value}-{number}", stage, tuple(layers), size)
                    layers, size, number = [], 0, number + 1
                layers.append(layer)
                size += more
            if layers:
                yield LayerGroup(f"{stage.value}-{number}", stage, tuple(layers), size)

    def _nbytes(self, layer: str) -> int:
        module = self.source.modules[layer]
        if not is_linear(module):
            return 0
        return self.method.nbytes(self.method.width(self._deltas(layer)))

    def _deltas(self, layer: str) -> list[LayerDelta]:
        """What each LoRA adds to a layer, on the device; nothing for a LoRA that leaves it alone."""
        there = {number: lora.delta(layer) for number, lora in enumerate(self.loras) if layer in lora.layers}
        shape = tuple(weight_of(self.source.modules[layer]).shape)
        width = torch.Size(shape[1:]).numel()
        nothing = FactoredDelta(shape, torch.zeros(shape[0], 0), torch.zeros(0, width))
        found = (there.get(number, nothing) for number in range(len(self.loras)))
        return [_moved(replace(delta, shape=shape), self.source.device) for delta in found]

    # -- one group -----------------------------------------------------------------------------------------------------

    @full_precision()
    def _group(self, group: LayerGroup, merged: Mapping[str, LayerDelta]) -> dict[str, Solved]:
        found = self.store.merged(group.layers)
        missing = [layer for layer in group.layers if layer not in found]
        linear = [layer for layer in missing if is_linear(self.source.modules[layer])]
        spans = {layer: self.method.span(self._deltas(layer)) for layer in linear}
        for lora in range(len(self.loras)):
            if missing and not self.store.has_features(group.name, lora):
                self._collect(group, lora, merged, spans)
            self.tell(f"{group.stage.value}, LoRA {lora + 1}")
        for layer in group.layers:
            if layer not in found:
                solved = self._solved(group, layer, spans.get(layer))
                found[layer] = replace(solved, delta=solved.delta.contiguous())  # as the store will have it, to the bit
                self.store.save(layer, found[layer])
            self.tell(layer)
        self.store.drop_features(group.name, len(self.loras))
        return found

    def _collect(
        self, group: LayerGroup, lora: int, merged: Mapping[str, LayerDelta], spans: Mapping[str, LoraSpan]
    ) -> None:
        features = {layer: self._features(layer, span) for layer, span in spans.items()}

        def see(layer: str, x: Tensor, held: bool) -> None:  # noqa: FBT001 - told by position
            features[layer].add(seen(self.source.modules[layer], x, spans[layer]), held=held)

        of_stage = [layer for layer in self.loras[lora].layers if stage_of(layer) is group.stage]
        own = {layer: self.loras[lora].delta(layer) for layer in of_stage if layer in self.source.modules}
        with torch.no_grad():
            self.source.show(group.stage, lora, {**merged, **own}, spans.keys(), see)
        self.store.save_features(group.name, lora, {layer: each.tensors() for layer, each in features.items()})

    def _features(self, layer: str, span: LoraSpan) -> Features:
        return self.method.features(_width(self.source.modules[layer], span), self.source.device)

    def _solved(self, group: LayerGroup, layer: str, span: LoraSpan | None) -> Solved:
        """By the features in ``span``; a norm, which has none, by the mean."""
        deltas, module = self._deltas(layer), self.source.modules[layer]
        if span is None:
            return Solved(_mean(deltas), 0.0)
        features = self.store.features(group.name, len(self.loras), layer, self.source.device)
        weight = weight_of(module).detach().float().flatten(1).to(self.source.device)
        solved = self.method.solve(span, deltas, features, weight)
        if all(delta.bias is None for delta in deltas):
            return solved
        return replace(solved, delta=MatrixDelta(solved.delta.shape, solved.delta.matrix, _mean(deltas).bias))


def is_linear(module: nn.Module) -> bool:
    """Whether a layer's weight is a matrix for its inputs, as a norm's is not."""
    return isinstance(module, (nn.Linear, nn.Conv2d))


def weight_of(module: nn.Module) -> Tensor:
    """A layer's own."""
    return cast(Tensor, module.weight)


def _width(module: nn.Module, span: LoraSpan) -> int:
    """Numbers of a sample in the span's coordinates."""
    return weight_of(module)[0].numel() if span.rows is None else len(span.rows)


def _moved(delta: LayerDelta, device: torch.device) -> LayerDelta:
    if isinstance(delta, FactoredDelta):
        return FactoredDelta(delta.shape, delta.up.to(device), delta.down.to(device))
    bias = None if delta.bias is None else delta.bias.to(device)
    return MatrixDelta(delta.shape, delta.matrix.to(device), bias)


def _mean(deltas: Sequence[LayerDelta]) -> MatrixDelta:
    """The mean of all, which is the least of the pull for a bias, and for a norm, whose inputs have the size 1."""
    matrices = torch.stack([delta.matrix for delta in deltas])
    biases = [delta.bias for delta in deltas if delta.bias is not None]
    bias = torch.stack(biases).sum(0) / len(deltas) if biases else None
    return MatrixDelta(deltas[0].shape, matrices.mean(0), bias)
