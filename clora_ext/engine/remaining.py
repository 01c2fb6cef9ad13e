"""How long a run will still take, told from the steps that it has made and the plans of those to come.

Steps that update the latent take several times as long as late ones, so equal shares of steps are no equal shares of
time.
"""

import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine.estimate import DIFFERENTIATED, plans_ahead
from clora_ext.engine.step_plan import MaskState, StepPlan
from clora_ext.settings.knobs import Settings

JUDGED_BY = 3
"""Of each kind of step the last ones, by which others of the kind are judged."""
_Kind = tuple[bool, bool]
"""Whether a step updates the latent, and whether it does nothing but route."""


def _kind_of(plan: StepPlan) -> _Kind:
    """Steps of one kind take as long for each row."""
    return plan.updates > 0, plan.only_routes


def _work_of(plan: StepPlan) -> float:
    """In plain rows."""
    return len(plan.predicted_rows) + DIFFERENTIATED * plan.updates * len(plan.gradient_rows)


class Remaining:
    """The seconds that are left of a run with ``branches``; the clock starts with the first step that is told."""

    def __init__(self, settings: Settings, branches: Sequence[int]) -> None:
        self._settings, self._branches = settings, branches
        self._paces: dict[_Kind, deque[float]] = defaultdict(lambda: deque(maxlen=JUDGED_BY))
        """Seconds for each plain row of work."""
        self._last: float | None = None
        self._calls = 0

    def after(
        self, plan: StepPlan, point: SamplingPoint, began: float, before: Sequence[float], state: MaskState
    ) -> float:
        """Seconds, after the step of ``plan`` at ``point`` that ``began`` then (``time.perf_counter``).

        ``before`` are the first and the highest position so far, ``state`` is what is known of the masks by now.
        """
        now = time.perf_counter()
        since = began if self._last is None else self._last  # with all that the host does between
        self._last, self._calls = now, self._calls + 1
        self._paces[_kind_of(plan)].append((now - since) / _work_of(plan) if _work_of(plan) else 0.0)
        each = self._calls / (point.index + 1) if point.index + 1 < self._calls else 1.0  # calls of the model a step
        plans = plans_ahead(self._settings, self._branches, points_after(point), state, before)
        return each * sum(_work_of(ahead) * self._pace(_kind_of(ahead)) for ahead, _ in plans)

    def _pace(self, kind: _Kind) -> float:
        """Of the kind; where there was none so far, of what updates as it does, else of any step."""
        like = [pace for other, paces in self._paces.items() if other[0] == kind[0] for pace in paces]
        every = [pace for paces in self._paces.values() for pace in paces]
        return median(self._paces.get(kind) or like or every)


def points_after(point: SamplingPoint) -> list[SamplingPoint]:
    """The steps to come, at evenly spaced noise levels from here on."""
    left = point.total - point.index
    return [
        replace(point, index=point.index + ahead, noise=point.noise * (1.0 - ahead / left), call=0, trial=False)
        for ahead in range(1, left)
    ]
