"""Updates of the latent in one step: gradient passes that move it until the concepts' maps part."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from clora_ext.attention.capture import OnLastMap
from clora_ext.batch.context import Forward
from clora_ext.core import guidance
from clora_ext.core.schedule import step_size_at
from clora_ext.core.shapes import Gradient, Latent, Scalar
from clora_ext.engine.gradient import GradientPass, GradientTools, ImageMaps, PredictionByRow, StepFacts


@dataclass
class UpdateLog:
    """What the updates of one step came to, on the device: it is read at the step's end."""

    losses: list[Scalar] = field(default_factory=list)
    gradient_rms: list[Scalar] = field(default_factory=list)
    separation: Scalar | None = None
    finite: list[Tensor] = field(default_factory=list)
    """Whether the gradients of all images were, for each update."""
    rows: int = 0
    """UNet rows that were differentiated."""


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """A latent that was updated, or was not.

    ``predict_from`` is the latent before its last update, where ``maps`` and ``predictions`` were made.
    """

    predict_from: Latent
    latent: Latent
    log: UpdateLog
    maps: ImageMaps = field(default_factory=dict)
    predictions: PredictionByRow = field(default_factory=dict)


def update_latent(tools: GradientTools, step: StepFacts, latent: Latent, times: int, forward: Forward) -> UpdateResult:
    """``times`` updates of the images of ``forward``, by its rows: z' = z - alpha * dL/dz (CLoRA, section 3.3).

    No image's gradient reaches another. The last pass goes on to the end, without a graph after the last map, and its
    predictions are kept; the others are cut short, and leave rows out that show no maps.
    """
    result = UpdateResult(latent, latent, UpdateLog())
    for number in range(times):
        is_last = number == times - 1
        then = OnLastMap.DETACH if is_last else OnLastMap.STOP
        result = _update_once(GradientPass(tools, step, forward if is_last else _compared(forward), then), result)
    return result


def _update_once(gradient_pass: GradientPass, before: UpdateResult) -> UpdateResult:
    latent, log, rows = before.latent, before.log, len(gradient_pass.forward.rows)
    found = gradient_pass.tools.memory.guarded(lambda: gradient_pass.run(latent), rows, graph=True)
    log.rows += rows
    log.losses.append(found.loss)
    log.gradient_rms.append(_rms(found.gradient))
    log.separation = found.separation
    moved = _moved(latent, found.gradient, gradient_pass, log)
    return UpdateResult(latent, moved, log, found.maps, found.predictions)


def _compared(forward: Forward) -> Forward:
    """Without the rows that are only predicted."""
    return replace(forward, rows=tuple(row for row in forward.rows if row in forward.columns))


def _rms(gradient: Gradient) -> Scalar:
    return gradient.float().square().mean().sqrt()


def _moved(latent: Latent, gradient: Gradient, gradient_pass: GradientPass, log: UpdateLog) -> Latent:
    """The latent against its gradient; an image whose gradient is not finite stays where it is."""
    finite = torch.isfinite(gradient).flatten(1).all(dim=1)
    log.finite.append(finite.all())
    settings = gradient_pass.tools.settings
    size = step_size_at(settings.step_size, settings.step_decay, gradient_pass.step.point)
    after = guidance.move_latent(latent, gradient, size, clip=settings.step_clip)
    return torch.where(finite[:, None, None, None], after, latent)
