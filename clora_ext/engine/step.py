"""One denoising step of CLoRA, in two halves around the host's own forward. Start reading here.

before: gradient passes move the latent until the concepts' maps part, then our rows join the host's batch
after:  maps become masks, the branches' predictions become one
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.attention.capture import Recorder
from clora_ext.core import fusion, guidance, loss, masks
from clora_ext.core import maps as cross_attention
from clora_ext.core.concepts import Columns, Plan
from clora_ext.core.rows import Half, Passage, Row
from clora_ext.core.schedule import Moment, position, step_size, updates
from clora_ext.core.shapes import Latent, Weights
from clora_ext.engine.layout import Layout, layout
from clora_ext.engine.port import Denoiser
from clora_ext.engine.report import JobReport, StepReport
from clora_ext.settings import Settings

KEPT = 3
"""How many masks are averaged when they are locked."""


@dataclass(frozen=True, slots=True)
class Move:
    """What ``before`` decides: predict from ``at``, go on from ``latent``; they differ where predictions are stale."""

    at: Latent
    latent: Latent


@dataclass(frozen=True, slots=True)
class Fused:
    """One prediction per image and half, in the space of the predictions that ``after`` was given."""

    cond: Tensor
    uncond: Tensor


class Composition:
    """One sampling run of a batch of images with the same LoRAs.

    ``plans`` has one plan per image, ``worn`` the names of the LoRAs of every branch, base (0) first.
    """

    def __init__(self, plans: Sequence[Plan], worn: Mapping[int, Sequence[str]], settings: Settings) -> None:
        self.plans = tuple(plans)
        self.worn = worn
        self.settings = settings
        self.passage = Passage()
        self.recorder = Recorder(self.passage, self.wanted)
        self.report = JobReport(
            {"profile": settings.profile, "method": settings.method, **settings.values},
            tuple(concept.name for concept in self.plans[0].concepts),
        )
        self.layout: Layout = layout(settings, len(plans), worn, 0)
        self.loss_scale = 1.0
        self._kept: list[list[Weights]] = []
        self._locked: list[Weights] | None = None
        self._before: float | None = None

    # -- before the host's forward ------------------------------------------------------------------------------

    def before(self, moment: Moment, latent: Latent, denoiser: Denoiser) -> Move:
        """Update the latent, then open the passage for the host's forward over ``self.layout.rows``."""
        self._started, self._moment = time.perf_counter(), moment
        self._losses: list[float] = []
        self._rms: list[float] = []
        self._separation: float | None = None
        self._notes: list[str] = []
        self._gradient_rows = 0
        here = position(moment, self.settings["count_by"])
        at = latent
        for _ in range(self._updates(here)):
            at, latent = latent, self._updated(latent, moment, denoiser)
        self._here, self._before = here, here
        self.layout = layout(self.settings, len(self.plans), self.worn, moment.index)
        self.passage.begin(self.layout.rows)
        if self._watching:
            self.recorder.start(self._map_size(latent))
        return Move(latent if self.settings["refresh"] else at, latent)

    def _updates(self, here: float) -> int:
        if self.settings.method != "clora" or all(len(plan.concepts) < 2 for plan in self.plans):
            return 0
        knobs = self.settings
        return updates(here, self._before, knobs["update_until"], knobs.rounds_at, knobs["rounds"])

    def _updated(self, latent: Latent, moment: Moment, denoiser: Denoiser) -> Latent:
        """z' = z - alpha * dL/dz, with L summed over images: no image's gradient reaches another."""
        halves = [Half.COND] if self.settings["maps_from"] == "cond" else [Half.COND, Half.UNCOND]
        rows = [
            Row(image, branch, half)
            for half in halves
            for branch in range(self.plans[0].branches)
            for image in range(len(self.plans))
        ]
        with torch.enable_grad():
            leaf = latent.detach().requires_grad_(True)  # noqa: FBT003 - torch's signature
            with self.passage.over(rows), self.recorder.recording(self._map_size(latent), stop_early=True):
                denoiser.forward(leaf, rows)
            total = self._loss(self.recorder.take())
            (gradient,) = torch.autograd.grad(total * self.loss_scale, leaf)
        gradient = gradient / self.loss_scale
        self._gradient_rows += len(rows)
        self._losses.append(float(total.detach()))
        self._rms.append(float(gradient.float().square().mean().sqrt()))
        if not guidance.finite(gradient):
            self._notes.append("an update was left out: its gradient was not finite")
            return latent
        size = step_size(self.settings["step_size"], self.settings["step_decay"], moment)
        return guidance.step(latent, gradient, size, clip=self.settings["step_clip"])

    def _loss(self, recorded: Mapping[Row, Tensor]) -> Tensor:
        losses: list[Tensor] = []
        apart: list[float] = []
        for image, plan in enumerate(self.plans):
            found = [self._maps(recorded, image, branch) for branch in range(plan.branches)]
            compared, groups = cross_attention.grouped(found, plan, each=self.settings["word_maps"] == "each")
            losses.append(loss.info_nce(compared, groups, self.settings["temperature"]))
            apart.append(loss.separation(compared, groups))
        self._separation = sum(apart) / len(apart)
        return torch.stack(losses).sum()

    # -- after the host's forward -------------------------------------------------------------------------------

    def after(self, predictions: Mapping[Row, Tensor]) -> Fused:
        """Close the passage and fuse. ``predictions`` has one [channel, y, x] per row of the layout.

        A host that left the unconditional rows out (its own way to save time) gets the conditional ones for them.
        """
        self.passage.end()
        weights = self._weights(next(iter(predictions.values())))
        fused: dict[Half, list[Tensor]] = {Half.COND: [], Half.UNCOND: []}
        for image in range(len(self.plans)):
            for half, branches in ((Half.COND, self.layout.branches), (Half.UNCOND, self.layout.uncond_branches)):
                rows = [Row(image, branch, half) for branch in branches]
                if all(row in predictions for row in rows):
                    stack = torch.stack([predictions[row] for row in rows])
                    fused[half].append(stack[0] if len(rows) == 1 else fusion.fuse(stack, weights[image]))
        self._log(weights, len(predictions))
        cond = torch.stack(fused[Half.COND])
        return Fused(cond, torch.stack(fused[Half.UNCOND]) if fused[Half.UNCOND] else cond)

    def abandon(self) -> None:
        """The forward between ``before`` and ``after`` failed: hooks are inert again."""
        self.passage.end()

    def _weights(self, like: Tensor) -> list[Weights]:
        """Who draws what, per image, at the size of the prediction ``like``."""
        if not self.settings.masked:
            return [fusion.uniform(len(self.layout.branches), like)] * len(self.plans)
        if self._here < self.settings["mask_from"]:
            weights = [fusion.uniform(plan.branches, like) for plan in self.plans]
        else:
            weights = self._masks()
        self.report.weights = [found.float().cpu() for found in weights]
        return [
            masks.resized(found, (like.shape[-2], like.shape[-1]), self.settings["mask_edges"]) for found in weights
        ]

    def _masks(self) -> list[Weights]:
        """Weights at the maps' size, from this step's maps or from the lock."""
        if self._locked is not None:
            return self._locked
        recorded = self.recorder.take()
        self._kept = [*self._kept, [self._mask(recorded, image) for image in range(len(self.plans))]][-KEPT:]
        if not self._locking:
            return self._kept[-1]
        self._locked = [torch.stack(few).mean(dim=0) for few in zip(*self._kept, strict=True)]
        return self._locked

    def _mask(self, recorded: Mapping[Row, Tensor], image: int) -> Weights:
        plan = self.plans[image]
        regions: list[Tensor] = []
        strengths: list[Tensor] = []
        for concept in range(len(plan.concepts)):
            own = self._maps(recorded, image, concept + 1)
            own = own[list(plan.own(concept, trigger=self.settings["mask_tokens"] == "both"))]
            regions.append(masks.region(own, self.settings["mask_threshold"]))
            strengths.append(own.mean(dim=0))
        united = masks.morphed(torch.stack(regions), self.settings.morphology)
        return masks.shares(united, torch.stack(strengths), self.settings["overlap"])

    @property
    def _locking(self) -> bool:
        return 0.0 < self.settings["lock_at"] <= self._here

    @property
    def _watching(self) -> bool:
        return self.settings.masked and self._locked is None and self._here >= self.settings["mask_from"]

    def _log(self, weights: Sequence[Weights], rows: int) -> None:
        areas = tuple(tuple(round(float(share.mean()), 4) for share in found) for found in weights)
        self.report.steps.append(
            StepReport(
                index=self._moment.index,
                position=self._here,
                losses=tuple(self._losses),
                gradient_rms=tuple(self._rms),
                separation=self._separation,
                areas=areas if self.settings.masked else (),
                rows=rows,
                gradient_rows=self._gradient_rows,
                seconds=time.perf_counter() - self._started,
                notes=tuple(self._notes),
            ),
        )

    # -- maps ---------------------------------------------------------------------------------------------------

    def wanted(self, row: Row) -> Columns:
        """The token columns to record in ``row``."""
        if row.half is Half.UNCOND and self.settings["maps_from"] == "cond":
            return ()
        return self.plans[row.image].columns(row.branch)

    def _maps(self, recorded: Mapping[Row, Tensor], image: int, branch: int) -> Tensor:
        """A branch's maps [column, height, width], averaged over the recorded halves of guidance."""
        halves = [recorded[row] for half in Half if (row := Row(image, branch, half)) in recorded]
        return cross_attention.smoothed(torch.stack(halves).mean(dim=0), self.settings["smoothing"])

    def _map_size(self, latent: Tensor) -> tuple[int, int]:
        size = (latent.shape[-2], latent.shape[-1])
        factor = cross_attention.level(size, quarter=self.settings["map_level"] == "quarter")
        return cross_attention.shape(size, factor)
