"""When the latent is updated, how often and how far."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SamplingPoint:
    """Where a run stands: step ``index`` of ``total``, at ``noise`` (timestep / 999: 1 is pure noise, 0 none).

    A run need not begin at noise 1 nor visit every index; second passes and short schedules do neither.
    """

    index: int
    total: int
    noise: float
    call: int = 0
    """The host's count of model calls, by which prompts are edited; equal to ``index`` where a step has one call."""
    trial: bool = False
    """Whether the model is called on a latent that the sampler makes anew afterwards: the second call of Heun's step,
    say. A latent moved there is lost, or counts twice."""


def position_of(point: SamplingPoint, count_by: str) -> float:
    """The point on the scale of the settings. Raises ``ValueError`` for another scale.

    ``step`` is the index itself, ``step50`` the index as if the run had 50 steps, ``noise`` the percentage of the
    noise schedule that is behind (0 at pure noise, 100 at none).
    """
    match count_by:
        case "step":
            return float(point.index)
        case "step50":
            return point.index * 50.0 / point.total
        case "noise":
            return 100.0 * (1.0 - point.noise)
        case _:
            msg = f"unknown scale {count_by!r}"
            raise ValueError(msg)


def count_updates(
    position: float, previous: float | None, until: float, rounds_at: Sequence[float], rounds: int
) -> int:
    """How many updates of the latent the step at ``position`` makes; ``previous`` is the highest position before it.

    One at every step below ``until``, and ``rounds`` more at the first step that reaches a position of ``rounds_at``.
    """
    if position >= until:
        return 0
    reached = [mark for mark in rounds_at if mark <= position and (previous is None or mark > previous)]
    return 1 + rounds if reached else 1


def step_size_at(size: float, decay: str, point: SamplingPoint) -> float:
    """alpha of this step: ``constant``, or ``sqrt`` as in Attend-and-Excite, alpha * sqrt(1 ... 0.5) over the run.

    Raises ``ValueError`` for another decay.
    """
    match decay:
        case "constant":
            return size
        case "sqrt":
            done = point.index / max(point.total - 1, 1)
            left = 1.0 - 0.5 * min(done, 1.0)
            return size * float(left**0.5)
        case _:
            msg = f"unknown decay {decay!r}"
            raise ValueError(msg)
