"""The two kinds of work that make a merged file's layers: from the LoRAs' numbers alone, and from layers' inputs.

Both tell every unit of work that is done, keep it in a ``Store`` at once, and go on where they were.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from clora_ext.core.maps import Grid
from clora_ext.merge.baselines import BaselineNumbers, merged_layer
from clora_ext.merge.inputs import MergeLora, layers_of
from clora_ext.merge.joint import Joint, JointReport
from clora_ext.merge.joint_source import JointSource
from clora_ext.merge.methods import MergeMethod
from clora_ext.merge.output import OutputForm, WrittenLayer, written_layer
from clora_ext.merge.prompts import Prompts
from clora_ext.merge.run import Merge, Stage
from clora_ext.merge.store import Store

Tell = Callable[[str], object]
"""Told of what is done, once for every unit of work. May raise ``MergeCancelled``."""


class MergeCancelled(Exception):  # noqa: N818 - it is no error
    """Somebody ends a merge; what is done stays, and the same merge goes on from there."""


@runtime_checkable
class MergeModel(JointSource, Protocol):
    """The model that a merge is for, as a host draws with it."""

    @property
    def family(self) -> str | None:
        """What it is, in words."""
        ...

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Its layers' own, by kohya's names."""
        ...


OpenModel = Callable[[Sequence[str], Prompts, int, Grid | None, Callable[[], None]], MergeModel]
"""Of LoRAs' triggers, what is drawn with each, steps, (height, width) in pixels or the model's own, and what is told of
every call of the UNet.
"""


@dataclass(frozen=True, slots=True)
class Base:
    """A checkpoint that a merge is for."""

    name: str
    """Of its file."""
    identity: tuple[str | int, ...]
    """What has to be the same for a merge to go on: its file, and how it is computed."""
    model: OpenModel


@dataclass(frozen=True, slots=True)
class LayerDone:
    """A layer of the merged file."""

    name: str
    written: WrittenLayer
    error: float | None = None
    """``Problem.pull`` on inputs that were held out; None for what looks at no inputs."""


class KnownWork:
    """By a baseline, one layer after the other, none of which is kept in memory before it is as the file has it."""

    def __init__(self, method: str, loras: Sequence[MergeLora], form: OutputForm, store: Store) -> None:
        self.method, self.form, self.store = method, form, store
        self.layers = layers_of(loras)

    @property
    def total(self) -> int:
        """Units of work: layers."""
        return len(self.layers)

    @property
    def memory_bytes(self) -> int:
        """Of a layer's deltas as matrices, their sum, and its singular vectors."""
        each = ((len(those) + 3) * torch.Size(those[0].shape(layer)).numel() for layer, those in self.layers.items())
        return 4 * max(each, default=0)

    @property
    def disk_bytes(self) -> int:
        """None beyond what the file itself will need."""
        return 0

    def done(self, tell: Tell) -> Iterator[LayerDone]:
        """Every layer. Raises ``LoraError`` as ``MergeLora.delta`` and ``written_layer``."""
        self.store.begin()
        for layer, those in self.layers.items():
            found = self.store.written(layer)
            if found is None:
                numbers = BaselineNumbers(rank=self.form.rank)
                found = written_layer(merged_layer(self.method, layer, those, numbers), self.form)
                self.store.save_written(layer, found)
            tell(layer)
            yield LayerDone(layer, found)


@dataclass(frozen=True, slots=True)
class Effort:
    """What may be spent on learning: bytes of memory, steps of a picture, joint steps."""

    budget: int
    steps: int
    joint: int = 0


class LearntWork:
    """By what layers are given while each LoRA draws alone; ``draw`` opens the model for that with a callback."""

    def __init__(
        self,
        method: MergeMethod,
        loras: Sequence[MergeLora],
        form: OutputForm,
        store: Store,
        effort: Effort,
        draw: Callable[[Callable[[], None]], MergeModel],
    ) -> None:
        self.form, self.store, self.steps = form, store, effort.steps
        self._tell: Tell = lambda _: None
        self._calls = 0
        """Of the UNet under the LoRA that draws now."""
        model = draw(self._called)
        self.merge = Merge(loras, model, method, store, effort.budget, self._told)
        self.joint = Joint(loras, model, store, effort.joint, effort.budget, self._told) if effort.joint else None
        self.joint_report: JointReport | None = None
        """What joint steps came to, once they are over."""

    @property
    def total(self) -> int:
        """Units of work: those of ``Merge`` and ``Joint``, calls of the UNet, and layers that are written."""
        drawn = sum(group.stage is Stage.PICTURE for group in self.merge.groups)
        layers = sum(len(group.layers) for group in self.merge.groups)
        together = self.joint.total if self.joint else 0
        return self.merge.total + drawn * len(self.merge.loras) * self.steps + layers + together

    @property
    def memory_bytes(self) -> int:
        """Of layers' inputs, or of lessons, their graph and what is learnt."""
        return max(self.merge.memory_bytes, self.joint.memory_bytes if self.joint else 0)

    @property
    def disk_bytes(self) -> int:
        """Of layers' inputs, or of lessons and what is learnt."""
        return max(self.merge.disk_bytes, self.joint.disk_bytes if self.joint else 0)

    def done(self, tell: Tell) -> Iterator[LayerDone]:
        """Every layer. Raises ``LoraError`` as ``written_layer``."""
        self._tell = tell
        found = self.merge.run()
        if self.joint:
            found, self.joint_report = self.joint.run(found)
        for layer, solved in found.items():
            written = written_layer(solved.delta, self.form)
            tell(f"{layer}, as the file has it")
            yield LayerDone(layer, written, solved.error)

    def _called(self) -> None:
        self._calls += 1
        if self._calls <= self.steps:  # a host may call the UNet more often than it makes steps
            self._tell(f"{Stage.PICTURE.value}, step {self._calls}")

    def _told(self, told: str) -> None:
        """Pictures that need not be drawn again are units too."""
        if told.startswith(f"{Stage.PICTURE.value},"):
            for _ in range(self._calls, self.steps):
                self._tell(told)
            self._calls = 0
        self._tell(told)
