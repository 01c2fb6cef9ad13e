"""What passes between the two halves of a step, and between them and the host."""

from dataclasses import dataclass

from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import Row
from clora_ext.core.shapes import Latent
from clora_ext.engine.gradient import PredictionByRow, StepFacts
from clora_ext.engine.step_plan import StepPlan
from clora_ext.engine.update import UpdateLog


@dataclass(frozen=True, slots=True)
class Move:
    """What ``before`` decides: predict from ``predict_from``, go on from ``latent``.

    They differ after an update: predictions are those of its last gradient pass, which began before it moved.
    """

    predict_from: Latent
    latent: Latent


@dataclass(frozen=True, slots=True)
class Fused:
    """One prediction per image and half [image, channel, y, x], in the space of those that ``after`` was given."""

    cond: Latent
    uncond: Latent


@dataclass(frozen=True, slots=True)
class OpenStep:
    """A step between its two halves."""

    plan: StepPlan
    facts: StepFacts
    rows: tuple[Row, ...]
    """Those that the host still has to predict."""
    kept: PredictionByRow
    """Those that the last gradient pass has predicted."""
    regions: RegionPyramid | None
    log: UpdateLog
    began: float
    """Seconds, by ``time.perf_counter``."""
