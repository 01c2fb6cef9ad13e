"""What passes between the two halves of a step, and between them and the host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import Row
from clora_ext.core import masks
from clora_ext.core.shapes import Latent, Prediction
from clora_ext.engine.gradient import PredictionByRow, StepFacts
from clora_ext.engine.masks import ImageMasks
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


def fuse_images(plan: StepPlan, images: Sequence[ImageMasks], predictions: Mapping[Row, Prediction]) -> Fused:
    """The predictions of every image's rows as one, by its masks; conditional ones for unconditional ones left out."""
    cond: list[Tensor] = []
    uncond: list[Tensor] = []
    for image, found in zip(plan.images, images, strict=True):
        cond.append(masks.fuse_rows([predictions[row] for row in image.cond], found.regions))
        if all(row in predictions for row in image.uncond):
            uncond.append(masks.fuse_rows([predictions[row] for row in image.uncond], found.regions))
    return Fused(torch.stack(cond), torch.stack(uncond or cond))


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
