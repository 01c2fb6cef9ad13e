"""What is left of a run, told while it is under way."""

import time

import pytest

from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine import remaining
from clora_ext.engine.remaining import Remaining, points_after
from clora_ext.engine.step_plan import MaskState, plan_step
from clora_ext.settings.knobs import Settings
from clora_ext.settings.profiles import build_settings

BRANCHES = (0, 1, 2)
STEPS = 20


def _run(settings: Settings, seconds: dict[bool, float], monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """What is told after each step, and what is then left: steps with and without updates take so many ``seconds``."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    left, before, state = Remaining(settings, BRANCHES), (), MaskState()
    told: list[float] = []
    ends: list[float] = []
    for index in range(STEPS):
        point = SamplingPoint(index, STEPS, 1.0 - index / STEPS, index)
        plan = plan_step(settings, BRANCHES, point, before, [state])
        before = (before[0] if before else plan.position, plan.position)
        state = MaskState(found=True, locked=plan.position >= settings.lock_at)
        began = now[0]
        now[0] += seconds[plan.updates > 0]
        told.append(left.after(plan, point, began, before, state))
        ends.append(now[0])
    return [(one, ends[-1] - end) for one, end in zip(told, ends, strict=True)]


@pytest.mark.parametrize("profile", ["fast", "balanced"])
def test_steps_that_update_are_no_measure_of_those_that_do_not(profile, monkeypatch):
    """A linear forecast would tell 2.4 times of what is left in the middle of the updates."""
    found = _run(build_settings(profile), {True: 4.0, False: 1.0}, monkeypatch)
    late = 12 if profile == "fast" else 11
    for told, left in found[-late:]:
        assert told == pytest.approx(left, rel=0.01)
    told, left = found[4]
    linear = 5 * 4.0 / 5 * (STEPS - 5)
    assert abs(told - left) < 0.7 * abs(linear - left)


def test_nothing_is_left_after_the_last_step(monkeypatch):
    assert _run(build_settings("paper"), {True: 2.0, False: 1.0}, monkeypatch)[-1] == (0.0, 0.0)


def test_equal_steps_are_told_exactly(monkeypatch):
    for told, left in _run(build_settings(method="composite"), {True: 3.0, False: 3.0}, monkeypatch):
        assert told == pytest.approx(left)


def test_one_slow_step_is_not_believed(monkeypatch):
    settings, now = build_settings(method="composite"), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    left, told = Remaining(settings, BRANCHES), 0.0
    for index, seconds in enumerate((30.0, 1.0, 1.0)):
        point = SamplingPoint(index, 10, 1.0 - index / 10, index)
        began = now[0]
        now[0] += seconds
        plan = plan_step(settings, BRANCHES, point, (), [MaskState()])
        told = left.after(plan, point, began, (0.0, 0.0), MaskState())
    assert told == pytest.approx(7.0)


def test_two_calls_a_step_count_twice(monkeypatch):
    settings, now = build_settings(method="composite"), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    left, told = Remaining(settings, BRANCHES), 0.0
    for call in range(6):
        point = SamplingPoint(call // 2, 10, 1.0 - call / 20, call, trial=bool(call % 2))
        began = now[0]
        now[0] += 1.0
        plan = plan_step(settings, BRANCHES, point, (), [MaskState()])
        told = left.after(plan, point, began, (0.0, 0.0), MaskState())
    assert told == pytest.approx(14.0)


def test_points_to_come_end_without_noise():
    points = points_after(SamplingPoint(7, 10, 0.3, 7))
    assert [point.index for point in points] == [8, 9]
    assert [point.noise for point in points] == pytest.approx([0.2, 0.1])
    assert remaining.points_after(SamplingPoint(9, 10, 0.1)) == []
