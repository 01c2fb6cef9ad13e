"""What the host tells of a job's remaining time, made right while composing.

It takes a step for a step: what is left, it says, takes as long for each step as what was. Steps that update the latent
take several times as long as late ones, so it would tell far too much before the lock. It counts from the beginning of
the job, which it keeps in its state for nothing else but the log; so while composing the beginning is put where what it
works out is what our own steps tell.
"""

import time
from typing import Any

from clora_ext.engine.report import StepReport


class ProgressClock:
    """For one pass of a job of the host's ``state``."""

    def __init__(self, state: Any) -> None:
        self._state = state
        self._began: float | None = None
        self._put: float | None = None
        self._pass_began = 0.0

    def tell(self, step: StepReport) -> None:
        """A step is over: from now on the host tells what is left after it."""
        state, now = self._state, time.time()
        if self._put is None:
            self._began, self._pass_began = state.time_start, now - step.seconds
        if not state.job_count or state.job_count < 0 or not state.sampling_steps or state.time_start is None:
            return
        done = (state.job_no + step.index / state.sampling_steps) / state.job_count
        if not 0.0 < done < 1.0:
            return
        this_pass = now - self._pass_began + step.remaining
        left = step.remaining + max(state.job_count - state.job_no - 1, 0) * this_pass
        self._put = state.time_start = now - left * done / (1.0 - done)

    def put_back(self) -> None:
        """The pass is over: the job has begun when it has, unless somebody has put another time there."""
        if self._put is not None and self._state.time_start == self._put:
            self._state.time_start = self._began
        self._put = None
