"""One layer, merged: a ridge by closed form, then steps against the margin, both judged by inputs held out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.merge.features import Moments
from clora_ext.merge.layer import LayerDelta
from clora_ext.merge.objective import Problem, closed_forms, pushed
from clora_ext.merge.span import LoraSpan

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Those that are tried where none is asked for."""
MARGIN = 0.5
_STEPS = 50
_WORTH = 1e-4
"""The share of the loss that a step has to take off."""


@dataclass(frozen=True, slots=True)
class Solved:
    """A layer's merged delta and how it was found."""

    delta: LayerDelta
    error: float
    """Mean over the LoRAs of ``Problem.pull`` on inputs held out: 0 is as each alone, 1 as without any."""
    ridge: float = 0.0
    steps: int = 0
    """Steps against the margin that were worth it."""


def solve(
    span: LoraSpan,
    deltas: Sequence[LayerDelta],
    learned: Sequence[Moments],
    held: Sequence[Moments],
    margin: float = MARGIN,
    ridges: tuple[float, ...] = RIDGES,
    *,
    start: LayerDelta | None = None,
) -> Solved:
    """The delta of one layer whose LoRAs make ``deltas`` of inputs with the moments ``learned``, each its own.

    The ridge of those with the least error on ``held`` is taken, and steps are made while they lower the loss there.
    ``start`` is what a ridge pulls to.
    """
    shape = deltas[0].shape
    targets = torch.stack([span.coordinates(delta) for delta in deltas])
    begun = None if start is None else span.coordinates(start)
    problem, judge = (Problem(targets, torch.stack([each.mean for each in some]), begun) for some in (learned, held))
    if not float(problem.usual) or not float(judge.usual):
        return Solved(span.delta(torch.zeros_like(targets[0]), shape), 0.0)
    found, ridge = _ridged(problem, judge, ridges)
    found, steps = _refined(problem, judge, found, margin, ridge)
    return Solved(span.delta(found, shape), float(judge.pull(found).mean()), ridge, steps)


def _ridged(problem: Problem, judge: Problem, ridges: tuple[float, ...]) -> tuple[Tensor, float]:
    tried = list(closed_forms(problem, ridges))
    errors = [float(judge.pull(each).mean()) for each in tried]
    best = errors.index(min(errors))
    return tried[best], ridges[best]


def _refined(problem: Problem, judge: Problem, found: Tensor, margin: float, ridge: float) -> tuple[Tensor, int]:
    if margin <= 0:
        return found, 0
    pairs, judged = problem.pairs(), judge.pairs()
    best = float(judge.loss(found, margin, ridge, judged))
    for step in range(_STEPS):
        moved = pushed(problem, found, margin, ridge, pairs)
        now = float(judge.loss(moved, margin, ridge, judged))
        if now > best * (1.0 - _WORTH):
            return found, step
        found, best = moved, now
    return found, _STEPS
