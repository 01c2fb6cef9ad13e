"""The ways to merge a layer: what each keeps of the layer's inputs, and what it makes of that."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from clora_ext.merge.baselines import as_factors, ssr, stacked_downs
from clora_ext.merge.features import Features, FeatureTensors, HeldMoments, Samples
from clora_ext.merge.layer import FactoredDelta, LayerDelta, MatrixDelta
from clora_ext.merge.objective import Problem
from clora_ext.merge.official import Official, official
from clora_ext.merge.solve import MARGIN, RIDGES, Solved, solve
from clora_ext.merge.span import LoraSpan, span_of

WIDEST = 2048
"""Inputs of a layer up to which all of them are looked at: beyond, their moments take long to solve."""
_CALLS = 21
"""Calls of a layer that are counted with before they are made: the steps of a picture."""


@runtime_checkable
class MergeMethod(Protocol):
    """A way to merge one layer."""

    @property
    def as_released(self) -> bool:
        """Whether the authors' own prompts and tokens are to be used."""
        ...

    def span(self, deltas: Sequence[LayerDelta]) -> LoraSpan:
        """The coordinates in which it sees the layer's inputs."""
        ...

    def width(self, deltas: Sequence[LayerDelta]) -> int:
        """Numbers of a sample in these coordinates, told without working them out; they are no more than that."""
        ...

    def features(self, width: int, device: torch.device) -> Features:
        """What is to be kept of inputs [sample, width] under one LoRA."""
        ...

    def nbytes(self, width: int) -> int:
        """Bytes of that."""
        ...

    def solve(
        self, span: LoraSpan, deltas: Sequence[LayerDelta], features: Sequence[FeatureTensors], weight: Tensor
    ) -> Solved:
        """The merged delta of a layer with ``weight`` [out, in] from every LoRA's delta and features."""
        ...


class _ByMoments:
    """What the ways have in common that look at the moments of inputs."""

    __slots__ = ()

    @property
    def as_released(self) -> bool:
        """Prompts are ours."""
        return False

    def features(self, width: int, device: torch.device) -> Features:
        """Moments."""
        return HeldMoments.of_width(width, device)

    def nbytes(self, width: int) -> int:
        """Of two matrices."""
        return 8 * width**2


@dataclass(frozen=True, slots=True)
class ByContrast(_ByMoments):
    """``merge.solve``: closed forms, with all inputs of layers of at most ``widest``, in wider ones in the span."""

    widest: int = WIDEST
    margin: float = MARGIN
    ridges: tuple[float, ...] = RIDGES

    def span(self, deltas: Sequence[LayerDelta]) -> LoraSpan:
        """That of the LoRAs, or of their outputs alone."""
        return span_of(deltas, rows=_inputs(deltas) > self.widest)

    def width(self, deltas: Sequence[LayerDelta]) -> int:
        """All inputs, or the LoRAs' ranks together where those are fewer."""
        inputs, has_whole = _inputs(deltas), not all(isinstance(delta, FactoredDelta) for delta in deltas)
        return inputs if has_whole or inputs <= self.widest else min(inputs, _ranks(deltas))

    def solve(
        self, span: LoraSpan, deltas: Sequence[LayerDelta], features: Sequence[FeatureTensors], weight: Tensor
    ) -> Solved:
        """By ``merge.solve``; with all inputs, from what is found in the span."""
        both = [HeldMoments.from_tensors(each) for each in features]
        learned, held = [each.learned for each in both], [each.held for each in both]
        inner = span_of(deltas) if span.rows is None else span
        if inner.rows is None or inner is span:
            return solve(span, deltas, learned, held, self.margin, self.ridges)
        narrow, judge = ([each.seen_by(inner.rows) for each in some] for some in (learned, held))
        first = solve(inner, deltas, narrow, judge, 0.0, self.ridges)
        return solve(span, deltas, learned, held, self.margin, self.ridges, start=first.delta)


@dataclass(frozen=True, slots=True)
class ByRouting(_ByMoments):
    """``merge.baselines.ssr``: what the LoRAs' ways down make of the inputs is routed to their ways up."""

    def span(self, deltas: Sequence[LayerDelta]) -> LoraSpan:
        """All ways down, one below the other; no basis of them."""
        return LoraSpan(stacked_downs(deltas), None)

    def width(self, deltas: Sequence[LayerDelta]) -> int:
        """The LoRAs' ranks together."""
        return _ranks(deltas)

    def solve(
        self, span: LoraSpan, deltas: Sequence[LayerDelta], features: Sequence[FeatureTensors], weight: Tensor
    ) -> Solved:
        """By ``ssr``; the error is ``Problem.pull`` on inputs held out."""
        both = [HeldMoments.from_tensors(each) for each in features]
        found = ssr(deltas, [each.learned.mean for each in both])
        ups = [as_factors(delta).up for delta in deltas]
        own = [torch.cat([up if up is each else torch.zeros_like(up) for up in ups], 1) for each in ups]
        judge = Problem(torch.stack(own), torch.stack([each.held.mean for each in both]))
        return Solved(found, float(judge.pull(found.up).mean()) if float(judge.usual) else 0.0)


@dataclass(frozen=True, slots=True)
class AsReleased:
    """``merge.official``: what the authors' released code does, on at most ``most`` samples of every call."""

    most: int = 64
    numbers: Official = field(default_factory=Official)
    as_released: bool = True

    def span(self, deltas: Sequence[LayerDelta]) -> LoraSpan:
        """Everything."""
        return LoraSpan(None, None)

    def width(self, deltas: Sequence[LayerDelta]) -> int:
        """All inputs."""
        return _inputs(deltas)

    def features(self, width: int, device: torch.device) -> Features:
        """Samples."""
        return Samples(self.most)

    def nbytes(self, width: int) -> int:
        """Of all samples."""
        return 4 * width * self.most * _CALLS

    def solve(
        self, span: LoraSpan, deltas: Sequence[LayerDelta], features: Sequence[FeatureTensors], weight: Tensor
    ) -> Solved:
        """By ``merge.official``; the error is that on the samples it has learnt from."""
        samples = [each["samples"] for each in features]
        found = official(weight, deltas, samples, self.numbers)
        own = [delta.matrix for delta in deltas]
        missed = sum(float((x @ (found - each).T).square().mean()) for x, each in zip(samples, own, strict=True))
        usual = sum(float((x @ each.T).square().mean()) for x, each in zip(samples, own, strict=True))
        return Solved(MatrixDelta(deltas[0].shape, found), missed / usual if usual else 0.0)


def _inputs(deltas: Sequence[LayerDelta]) -> int:
    """Of a layer, with every place in its kernel."""
    return torch.Size(deltas[0].shape[1:]).numel()


def _ranks(deltas: Sequence[LayerDelta]) -> int:
    """Together; a whole difference counts as many as it can have."""
    return sum(delta.rank for delta in deltas)


MERGE_METHODS: dict[str, MergeMethod] = {
    "default": ByContrast(),
    "span": ByContrast(widest=0),
    "unrestricted": ByContrast(widest=2**31),
    "official": AsReleased(),
    "fusion": ByContrast(margin=0.0),
    "ssr": ByRouting(),
}
"""By name."""
