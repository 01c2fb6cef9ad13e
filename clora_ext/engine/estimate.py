"""What a job will cost: its steps' plans, added up before anything is drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine.masks import HISTORY
from clora_ext.engine.step_plan import ImagePlan, Lock, MaskState, StepPlan, plan_step
from clora_ext.settings.knobs import Settings

DIFFERENTIATED = 2.0
"""A differentiated row in plain ones: forward and backward to the last map that is needed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """UNet rows of one image; ``ratio`` is their cost to that of a plain image."""

    plain_rows: int
    rows: int = 0
    gradient_rows: int = 0
    most_rows: int = 0
    """The most that a step predicts."""
    most_gradient_rows: int = 0
    """The most that an update differentiates."""
    late_rows: int = 0
    """Those of a late step, which all are alike; 0 where there are none."""

    @property
    def work(self) -> float:
        """In plain rows."""
        return self.rows + DIFFERENTIATED * self.gradient_rows

    @property
    def ratio(self) -> float:
        """Cost in UNet time, 1 for a plain image."""
        return self.work / max(self.plain_rows, 1)

    def with_step(self, image: ImagePlan, predicted: int, *, late: bool) -> "Estimate":
        """The same and one more step, which predicts ``predicted`` rows."""
        compared, joined = len(image.gradient_rows), len(image.joined)
        return Estimate(
            plain_rows=self.plain_rows,
            rows=self.rows + predicted,
            gradient_rows=self.gradient_rows + image.updates * compared + joined,
            most_rows=max(self.most_rows, predicted),
            most_gradient_rows=max(self.most_gradient_rows, compared + joined),
            late_rows=predicted if late else self.late_rows,
        )


def made_steps(steps: int, strength: float = 1.0) -> int:
    """How many of ``steps`` are made, of which ``strength`` is the share."""
    return max(1, round(steps * strength))


def estimate(
    settings: Settings, branches: Sequence[int], steps: int, strength: float = 1.0, *, fixed: bool = False
) -> Estimate:
    """Add up the steps of one image with ``branches``, taken at evenly spaced noise levels.

    Of ``steps`` the share ``strength`` is made, the last ones: 1 from pure noise, less from another image. Masks are
    taken to be locked at the last moment, ``lock_at``; steady ones are locked earlier, and ``fixed`` ones at once.
    """
    made = made_steps(steps, strength)
    points = [SamplingPoint(index, made, strength * (1.0 - index / made), index) for index in range(made)]
    found = Estimate(2 * made)
    for plan, state in plans_ahead(settings, branches, points, MaskState(fixed, fixed)):
        late = plan.only_routes and state.locked
        found = found.with_step(plan.images[0], len(plan.predicted_rows), late=late)
    return found


def plans_ahead(
    settings: Settings,
    branches: Sequence[int],
    points: Sequence[SamplingPoint],
    state: MaskState,
    before: Sequence[float] = (),
) -> Iterator[tuple[StepPlan, MaskState]]:
    """The plans of one image's steps at ``points``, each with what is known of its masks before it.

    Masks are taken to be locked at the last moment.
    """
    for count, point in enumerate(points, start=1):
        plan = plan_step(settings, branches, point, before, [state])
        yield plan, state
        averaged = plan.lock is Lock.IF_AVERAGED and count >= HISTORY
        locked = state.locked or plan.lock is Lock.NOW or averaged
        state = MaskState(settings.masked or state.found, locked and settings.masked, state.outside)
        before = (before[0], max(before[-1], plan.position)) if before else (plan.position, plan.position)
