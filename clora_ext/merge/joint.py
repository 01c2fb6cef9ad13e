"""All layers of a merge learnt together, by what each LoRA alone predicts.

Layer by layer, one matrix can not tell many LoRAs apart by inputs that are much alike, and what is lost in one layer no
other makes up for. A text encoder that never needed to tell two triggers apart gives them the same vectors, whatever is
merged behind it. Here the whole model, texts included, is to predict what each LoRA predicts for its own texts:

    loss = mean over rows of  ||e(z, t, text) - e_i(z, t, text)||^2 / u(t)

with LoRA i's prediction e_i, and the mean square u(t) of what LoRAs change at that timestep, so that all noise levels
count alike: predictions differ most where little noise is left, and decide most where there is much. It is the pull of
LoRACLR (arXiv 2412.09622) at the model's end instead of a layer's; rows whose latents are another LoRA's pictures keep
them apart (``merge.lessons``). It begins with layers as they were merged one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from clora_ext.merge.features import FeatureTensors
from clora_ext.merge.joint_source import JointSource
from clora_ext.merge.layer import LayerDelta
from clora_ext.merge.learnt import Learnt, learnt_of
from clora_ext.merge.lesson_rows import AllLessons, LessonRows
from clora_ext.merge.lessons import LEVELS, OTHERS, OWN, UNITS, Lessons, Pictures, to_be_noised
from clora_ext.merge.orthogonal import OrthogonalSteps, share_of_rate
from clora_ext.merge.run import Merged, is_linear, weight_of
from clora_ext.merge.solve import Solved
from clora_ext.merge.store import Store

STEPS_PER_LORA = 100
"""Where nobody says how many."""
RATE = 5e-3
"""Of a step in every direction of a layer, once it is whole."""
KEPT_EVERY = 50
"""Steps after which what is learnt is kept, for a merge that goes on."""
_KEPT = "joint"


class _Told(Protocol):
    def tensors(self) -> FeatureTensors: ...


Find = Callable[[int, Mapping[str, LayerDelta], Callable[[], None]], _Told]
"""Something of a LoRA with its own deltas, told in units of work."""


@dataclass(frozen=True, slots=True)
class JointReport:
    """The loss on rows that were held out; 1 is as without any LoRA."""

    steps: int
    before: float
    """Of layers merged one by one."""
    after: float
    """Of what was taken, which is no more."""

    def told(self) -> str:
        """In words."""
        return f"all layers together: error {self.before:.3f}, {self.after:.3f} after {self.steps} joint steps"


class Joint:
    """``steps`` joint steps for the LoRAs ``loras`` of ``source``; ``tell`` is called ``total`` times.

    ``budget``: bytes that a graph may take where the device does not tell what is free.
    """

    def __init__(
        self,
        loras: Sequence[Merged],
        source: JointSource,
        store: Store,
        steps: int,
        budget: int,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.loras, self.source, self.store = loras, source, store
        self.steps, self.budget, self.tell = steps, budget, tell
        self._rows = 0
        """That a graph has room for, once that is known."""

    @property
    def total(self) -> int:
        """Units of work: those of each LoRA's lessons, and a step."""
        return len(self.loras) * UNITS + self.steps

    @property
    def memory_bytes(self) -> int:
        """Of all lessons, a graph, and of matrices four times: what is learnt, its gradient, momentum and a step."""
        return self._lesson_bytes + 4 * self._matrix_bytes + self.budget

    @property
    def disk_bytes(self) -> int:
        """Of all lessons and what is kept of steps, while it is written anew."""
        return self._lesson_bytes + 4 * self._matrix_bytes

    @property
    def _lesson_bytes(self) -> int:
        return len(self.loras) * self.source.lesson_bytes

    @property
    def _matrix_bytes(self) -> int:
        there = set().union(*(one.layers for one in self.loras)) & set(self.source.modules)
        return 4 * sum(self._numbers(layer) for layer in there if is_linear(self.source.modules[layer]))

    def _numbers(self, layer: str) -> int:
        shape = weight_of(self.source.modules[layer]).shape
        outputs, inputs = shape[0], shape[1:].numel()
        return min(self._rank(layer) * (outputs + inputs), outputs * inputs)

    def _rank(self, layer: str) -> int:
        return sum(one.rank(layer) for one in self.loras if layer in one.layers)

    def run(self, solved: Mapping[str, Solved]) -> tuple[dict[str, Solved], JointReport]:
        """The merge with its matrices after that; norms and biases stay as they were."""
        deltas = {layer: each.delta for layer, each in solved.items()}
        learnt = self._begun(deltas)
        fixed = {layer: delta for layer, delta in deltas.items() if layer not in learnt}
        lessons = self._lessons()
        with self.source.learning(learnt, fixed):
            report = self._learn(learnt, lessons)
        if not report.after < report.before:
            return dict(solved), replace(report, after=report.before)
        better = {layer: replace(solved[layer], delta=each.delta()) for layer, each in learnt.items()}
        return {**solved, **better}, report

    # -- lessons -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _lessons(self) -> AllLessons:
        numbers = range(len(self.loras))
        drawn = [
            Pictures.from_tensors(self._kept(f"pictures-{lora}", lora, LEVELS, self.source.pictures))
            for lora in numbers
        ]
        finished = [each.finished for each in drawn]

        def noised(lora: int, own: Mapping[str, LayerDelta], tell: Callable[[], None]) -> Lessons:
            clean = to_be_noised(finished, lora, torch.Generator().manual_seed(lora))
            return self.source.noised(lora, own, clean, tell)

        more = [Lessons.from_tensors(self._kept(f"lessons-{lora}", lora, OWN + OTHERS, noised)) for lora in numbers]
        taught = [each.lessons + other for each, other in zip(drawn, more, strict=True)]
        texts = [self.source.texts(lora) for lora in numbers]
        return AllLessons(taught, texts, [each.missed for each in drawn])

    def _kept(self, name: str, lora: int, tells: int, find: Find) -> FeatureTensors:
        """What the store has of that name, or what is found under a LoRA; units of work are told alike."""

        def tell() -> None:
            self.tell(f"lessons of LoRA {lora + 1}")

        found = self.store.kept(f"{_KEPT}-{name}")
        if found is not None:
            for _ in range(tells):
                tell()
            return found
        one = self.loras[lora]
        own = {layer: one.delta(layer) for layer in one.layers if layer in self.source.modules}
        found = find(lora, own, tell).tensors()
        self.store.keep(f"{_KEPT}-{name}", found)
        return found

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _begun(self, merged: Mapping[str, LayerDelta]) -> dict[str, Learnt]:
        """Every matrix as it is merged, at the rank that all LoRAs have there together."""
        linear = [layer for layer in merged if is_linear(self.source.modules[layer])]
        return {layer: learnt_of(merged[layer], self._rank(layer), self.source.device) for layer in linear}

    def _learn(self, learnt: Mapping[str, Learnt], lessons: AllLessons) -> JointReport:
        matrices = [matrix for each in learnt.values() for matrix in each.matrices]
        kept = self.store.kept(_KEPT)
        done, before = (0, self._judged(lessons)) if kept is None else _begin_again(matrices, kept)
        momenta = None if kept is None else _numbered(kept, "momentum", matrices)
        steps = OrthogonalSteps(matrices, momenta)
        for step in range(self.steps):
            if step >= done:
                steps.step(self._gradients(matrices, lessons.drawn(step)), RATE * share_of_rate(step, self.steps))
                if (step + 1) % KEPT_EVERY == 0 or step + 1 == self.steps:
                    self.store.keep(_KEPT, _all_numbered(steps, step + 1, before))
            self.tell(f"joint step {step + 1}")
        return JointReport(self.steps, before, self._judged(lessons))

    def _gradients(self, matrices: Sequence[Tensor], rows: LessonRows) -> list[Tensor]:
        total = [torch.zeros_like(matrix) for matrix in matrices]
        for part in rows.split(self._rows or self._room_for(rows)):
            with torch.enable_grad():
                loss = self._missed(part).sum() / len(rows)
                found = torch.autograd.grad(loss, matrices, allow_unused=True)
            for whole, some in zip(total, found, strict=True):
                if some is not None:  # a layer may reach nothing
                    whole.add_(some)
        return total

    def _judged(self, lessons: AllLessons) -> float:
        rows = lessons.judged()
        with torch.no_grad():
            found = [self._missed(part) for part in rows.split(self._rows or self._room_for(rows))]
        return float(torch.cat(found).mean())

    def _missed(self, rows: LessonRows) -> Tensor:
        """The loss of every row."""
        device = self.source.device
        found = self.source.predict(rows.z.to(device), rows.timesteps.to(device), self.source.read(rows.texts))
        return (found - rows.predicted.to(device)).square().flatten(1).mean(1) / rows.unit.to(device)

    def _room_for(self, rows: LessonRows) -> int:
        """How many rows a graph has room for, by the bytes that it saves of one."""
        saved: dict[int, int] = {}

        def count(found: Tensor) -> Tensor:
            storage = found.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return found

        one = next(rows.split(1))
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda found: found):
            self._missed(one)
        room = self.source.room
        self._rows = max(int((self.budget if room is None else room) // max(sum(saved.values()), 1)), 1)
        return self._rows


def _all_numbered(steps: OrthogonalSteps, done: int, before: float) -> FeatureTensors:
    tensors = {f"matrix-{number}": matrix.detach() for number, matrix in enumerate(steps.matrices)}
    tensors |= {f"momentum-{number}": momentum for number, momentum in enumerate(steps.momenta)}
    return tensors | {"done": torch.tensor(done), "before": torch.tensor(before, dtype=torch.float64)}


def _begin_again(matrices: Sequence[Tensor], kept: FeatureTensors) -> tuple[int, float]:
    with torch.no_grad():
        for matrix, there in zip(matrices, _numbered(kept, "matrix", matrices), strict=True):
            matrix.copy_(there)
    return int(kept["done"]), float(kept["before"])


def _numbered(kept: FeatureTensors, name: str, like: Sequence[Tensor]) -> list[Tensor]:
    return [kept[f"{name}-{number}"].to(each.device) for number, each in enumerate(like)]
