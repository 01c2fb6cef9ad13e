"""One denoising step of CLoRA, in two halves around the host's own forward. Start reading here.

before: gradient passes move the latent until the concepts' maps part, then our rows join the host's batch
after:  maps become masks, the branches' predictions become one

Once masks are locked, one routed row takes the branches' place: each of its pixels is drawn as the branch that owns it
would draw it (docs/method.md, "Lock and route").
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.attention.capture import Recorder
from clora_ext.core import fusion, guidance, masks
from clora_ext.core import maps as cross_attention
from clora_ext.core.concepts import Columns, Plan
from clora_ext.core.regions import Regions
from clora_ext.core.rows import Half, Passage, Row, by_length
from clora_ext.core.schedule import Moment, position, updates
from clora_ext.core.shapes import Latent, Weights
from clora_ext.engine.layout import Drawing, Layout, differentiated, drawing, routes
from clora_ext.engine.masking import Masking
from clora_ext.engine.memory import Memory, split
from clora_ext.engine.port import Denoiser
from clora_ext.engine.report import JobReport, StepReport
from clora_ext.engine.updating import Log, Moved, Updating, by_image
from clora_ext.settings import Settings


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

    ``plans`` has one plan per image, ``worn`` the names of the LoRAs of every branch, base (0) first; ``cfg_scale`` is
    the scale of the host's guidance. ``layout`` has
    all rows of the step, ``rows`` those that the host still has to predict; ``kept`` has the others' predictions.
    """

    def __init__(
        self, plans: Sequence[Plan], worn: Mapping[int, Sequence[str]], settings: Settings, cfg_scale: float = 1.0
    ) -> None:
        self.plans = tuple(plans)
        self.worn = worn
        self.settings = settings
        self.uncond = guidance.uncond_share(settings["emphasis"], cfg_scale) if settings.masked else 1.0
        self.passage = Passage()
        self.recorder = Recorder(self.passage, self.wanted)
        self.memory = Memory(settings["memory"])
        self.updating = Updating(settings, self.recorder, self.memory)
        self.masking = Masking(settings, len(plans))
        self.report = JobReport(
            {"profile": settings.profile, "method": settings.method, **settings.values},
            tuple(concept.name for concept in self.plans[0].concepts),
        )
        self.layout = Layout((), 0, worn, self.uncond)
        self.rows: tuple[Row, ...] = ()
        self.kept: Mapping[Row, Tensor] = {}
        self.regions: Regions | None = None
        self._watched: frozenset[int] = frozenset()
        self._before: float | None = None

    # -- before the host's forward ------------------------------------------------------------------------------

    def before(self, moment: Moment, latent: Latent, denoiser: Denoiser) -> Move:
        """Update the latent, then open the passage for the host's forward over ``self.rows``."""
        self._started, self._moment, self._denoiser = time.perf_counter(), moment, denoiser
        self._size = (latent.shape[-2], latent.shape[-1])
        self._here = position(moment, self.settings["count_by"])
        self._texts: dict[tuple[Row, ...], list[tuple[list[int], Tensor]]] = {}
        self.memory.fit(self._size, len(self.plans))
        self._lay_out()
        moved, self._log = self._update(latent)
        for image, maps in moved.maps.items():
            self._see(image, maps)
        self._lay_out()  # rows may be routed from now on, by the masks that have just been found
        self.kept = {row: moved.predictions[row] for row in self.layout.rows if row in moved.predictions}
        self.rows = tuple(row for row in self.layout.rows if row not in self.kept)
        self._before = self._here
        self._watched = frozenset(image for image in range(len(self.plans)) if self._unseen(image, moved.maps))
        self._open()
        return Move(moved.latent if self.settings["refresh"] else moved.at, moved.latent)

    def predict(self, at: Latent) -> dict[Row, Tensor]:
        """The predictions of ``rows`` from ``at``, in as many of the host's UNet calls as memory asks for."""

        def predicted() -> dict[Row, Tensor]:
            self._open()
            parts = split(self.rows, self.memory.plain_rows)
            return {row: one for part in parts for row, one in zip(part, self._denoiser.forward(at, part), strict=True)}

        return self.memory.guarded(predicted, len(self.rows), graph=False)

    def _open(self) -> None:
        self.passage.begin(self.rows)
        if self._watched:
            self.recorder.start(self._map_size)

    def _lay_out(self) -> None:
        drawings = tuple(self._drawing(image) for image in range(len(self.plans)))
        self.layout = Layout(drawings, drawings[0].branches[0], self.worn, self.uncond)
        if self.regions is None and any(each.routed or each.uncond_routed for each in drawings):
            self.regions = Regions(dict(self.masking.current), self.worn, self._size, uncond=self.uncond)

    def _drawing(self, image: int) -> Drawing:
        knobs = self.settings
        divided = image in self.masking.current
        routed = divided and routes(knobs, locked=image in self.masking.locked)
        return drawing(knobs, tuple(self.worn), self._moment.index, routed=routed, divided=divided)

    def _update(self, latent: Latent) -> tuple[Moved, Log]:
        """The latent's updates in this step, by the rows that the settings differentiate."""
        images = [image for image, plan in enumerate(self.plans) if self._updates(image) and len(plan.concepts) > 1]
        self._watched = frozenset(images)
        knobs = self.settings
        rows = [
            row
            for image in images
            for row in differentiated(knobs, tuple(self.worn), image, routed=self._drawing(image).routed)
        ]
        rows.sort(key=lambda row: (row.half is Half.UNCOND, row.branch))  # a LoRA's rows stand together
        times = updates(self._here, self._before, knobs["update_until"], knobs.rounds_at, knobs["rounds"])
        self.updating.start(self._moment, self._denoiser, self._map_size)
        return self.updating.run(latent, times if rows else 0, {image: self.plans[image] for image in images}, rows)

    def _updates(self, image: int) -> bool:
        """Whether the latent of ``image`` may still be updated: not once its branches are gone."""
        by_row = self.settings["compose_by"] == "row"
        gone = self.settings["route"] and not by_row and image in self.masking.locked
        return self.settings.method == "clora" and not gone

    def _see(self, image: int, maps: Mapping[int, Tensor]) -> None:
        if image not in self.masking.locked:
            self.masking.see(image, self.plans[image], maps)
            self.regions = None

    def _unseen(self, image: int, maps: Mapping[int, object]) -> bool:
        """Whether the masks of ``image`` have to be read from the host's forward."""
        knobs = self.settings
        if not knobs.masked or image in self.masking.locked:
            return False
        base = knobs["compose_by"] == "row" and knobs["gradient_row"] == "base"
        return image not in maps or not (base or any(row.image == image for row in self.kept))

    # -- after the host's forward -------------------------------------------------------------------------------

    def after(self, predictions: Mapping[Row, Tensor]) -> Fused:
        """Close the passage and fuse. ``predictions`` has one [channel, y, x] for each of ``rows``.

        A host that left the unconditional rows out (its own way to save time) gets the conditional ones for them.
        """
        self.passage.end()
        if self._watched:
            for image, maps in by_image(self.recorder.take()).items():
                self._see(image, maps)
        every = {**self.kept, **predictions}
        weights = self._weights(next(iter(every.values())))
        fused: dict[Half, list[Tensor]] = {Half.COND: [], Half.UNCOND: []}
        for image in range(len(self.plans)):
            for half in Half:
                rows = self.layout.of(image, half)
                if all(row in every for row in rows):
                    stack = torch.stack([every[row] for row in rows])
                    fused[half].append(stack[0] if len(rows) == 1 else fusion.fuse(stack, weights[image]))
        self._report(weights, len(predictions))
        self.kept = {}
        cond = torch.stack(fused[Half.COND])
        return Fused(cond, torch.stack(fused[Half.UNCOND]) if fused[Half.UNCOND] else cond)

    def abandon(self) -> None:
        """The forward between ``before`` and ``after`` failed: hooks are inert again."""
        self.passage.end()
        self.kept = {}

    def _weights(self, like: Tensor) -> list[Weights]:
        """Who draws what, per image, at the size of the prediction ``like``."""
        if not self.settings.masked:
            return [fusion.uniform(len(each.branches), like) for each in self.layout.drawings]
        weights = [self._settled(image) for image in range(len(self.plans))]
        self.report.weights = [found.float().cpu() for found in weights]
        self.report.maps = [found.float().cpu() for _, found in sorted(self.masking.maps.items())]
        return [masks.resized(found, (like.shape[-2], like.shape[-1])) for found in weights]

    def _settled(self, image: int) -> Weights:
        """The weights of ``image``, which may be locked by this step."""
        if image not in self.masking.locked:
            self.masking.settle(image, self._here)
            self.regions = None if image in self.masking.locked else self.regions
        return self.masking.current[image]

    def _report(self, weights: Sequence[Weights], rows: int) -> None:
        areas = tuple(tuple(round(float(share.mean()), 4) for share in found) for found in weights)
        log = self._log
        self.report.steps.append(
            StepReport(
                index=self._moment.index,
                position=self._here,
                losses=tuple(log.losses),
                gradient_rms=tuple(log.gradient_rms),
                separation=log.separation,
                areas=areas if self.settings.masked else (),
                locked=len(self.masking.locked),
                routed=sum(each.routed for each in self.layout.drawings),
                rows=rows,
                gradient_rows=log.rows,
                seconds=time.perf_counter() - self._started,
                notes=(*log.notes, *self.memory.taken_notes()),
            ),
        )

    # -- what hooks ask -----------------------------------------------------------------------------------------

    def wanted(self, row: Row) -> Columns:
        """The token columns to record in ``row``."""
        if row.image not in self._watched or (row.half is Half.UNCOND and self.settings["maps_from"] == "cond"):
            return ()
        return self.plans[row.image].columns(row.branch)

    def texts(self, rows: tuple[Row, ...]) -> list[tuple[list[int], Tensor]]:
        """What one call can see of ``rows``: their places, with their conditions [row, token, width] at this step."""
        if rows not in self._texts:
            self._texts[rows] = by_length(rows, self._denoiser.texts)
        return self._texts[rows]

    @property
    def _map_size(self) -> tuple[int, int]:
        factor = cross_attention.level(self._size, quarter=self.settings["map_level"] == "quarter")
        return cross_attention.shape(self._size, factor)
