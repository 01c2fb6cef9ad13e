"""When the latent is updated, how often and how far; when masks start and when they are locked."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands: step ``index`` of ``total``, at noise level ``noise`` (timestep / 999: 1 pure noise, 0 none).

    A run need not begin at noise 1 nor visit every index; second passes and short schedules do neither.
    """

    index: int
    total: int
    noise: float


def position(moment: Moment, count_by: str) -> float:
    """The moment on the scale of the settings.

    ``step`` is the index itself, ``step50`` the index as if the run had 50 steps, ``noise`` the percentage of the
    noise schedule that is behind (0 at pure noise, 100 at none).
    """
    match count_by:
        case "step":
            return float(moment.index)
        case "step50":
            return moment.index * 50.0 / moment.total
        case "noise":
            return 100.0 * (1.0 - moment.noise)
        case _:
            msg = f"unknown scale {count_by!r}"
            raise ValueError(msg)


def updates(here: float, before: float | None, until: float, rounds_at: Sequence[float], rounds: int) -> int:
    """How many updates of the latent the step at position ``here`` makes; ``before`` is the last step's position.

    One at every step below ``until``, and ``rounds`` more at the first step that reaches a position of ``rounds_at``.
    """
    if here >= until:
        return 0
    reached = sum(1 for mark in rounds_at if mark <= here and (before is None or mark > before))
    return 1 + (rounds if reached else 0)


def step_size(size: float, decay: str, moment: Moment) -> float:
    """alpha of this step: ``constant``, or ``sqrt`` as in Attend-and-Excite, alpha * sqrt(1 ... 0.5) over the run."""
    match decay:
        case "constant":
            return size
        case "sqrt":
            done = moment.index / max(moment.total - 1, 1)
            return size * (1.0 - 0.5 * min(done, 1.0)) ** 0.5
        case _:
            msg = f"unknown decay {decay!r}"
            raise ValueError(msg)
