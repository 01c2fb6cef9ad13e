"""The remaining time that WebUI works out, while composing."""

import time
from types import SimpleNamespace

import pytest

from clora_ext.engine.report import StepReport
from clora_ext.hosts.webui.drive.progress_clock import ProgressClock


def _state(**values: object) -> SimpleNamespace:
    return SimpleNamespace(**{"time_start": 1000.0, "job_count": 1, "job_no": 0, "sampling_steps": 20, **values})


def _step(index: int, remaining: float, seconds: float = 2.0) -> StepReport:
    return StepReport(index, 0.0, (), (), None, (), 0, 0, 2, 0, seconds, remaining=remaining)


def _told(state: SimpleNamespace, index: int) -> float:
    """As modules/progress.py works it out, once the step is over."""
    progress = state.job_no / state.job_count + 1 / state.job_count * index / state.sampling_steps
    elapsed = time.time() - state.time_start
    return elapsed / progress - elapsed


@pytest.fixture
def now(monkeypatch) -> list[float]:
    found = [1002.0]
    monkeypatch.setattr(time, "time", lambda: found[0])
    return found


def test_the_host_tells_what_the_steps_tell(now):
    state = _state()
    clock = ProgressClock(state)
    for index, left in ((0, 40.0), (1, 38.0), (10, 9.0), (19, 0.5)):
        clock.tell(_step(index, left))
        if index:
            assert _told(state, index) == pytest.approx(left)
        now[0] += 2.0
    clock.put_back()
    assert state.time_start == 1000.0


def test_pictures_to_come_take_as_long_as_this_one(now):
    state = _state(job_count=4, job_no=1)
    clock = ProgressClock(state)
    clock.tell(_step(5, remaining=8.0, seconds=12.0))
    assert _told(state, 5) == pytest.approx(8.0 + 2 * (12.0 + 8.0))


@pytest.mark.parametrize("values", [{"job_count": 0}, {"job_count": -1}, {"sampling_steps": 0}, {"time_start": None}])
def test_where_the_host_tells_nothing_nothing_is_changed(now, values):
    state = _state(**values)
    before = state.time_start
    clock = ProgressClock(state)
    clock.tell(_step(5, 8.0))
    clock.put_back()
    assert state.time_start == before


def test_a_time_that_somebody_else_has_put_there_stays(now):
    state = _state()
    clock = ProgressClock(state)
    clock.tell(_step(5, 8.0))
    state.time_start = 1234.0
    clock.put_back()
    assert state.time_start == 1234.0
