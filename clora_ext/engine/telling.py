"""Tells a run's report of every step that is over."""

import time
from collections.abc import Sequence

from clora_ext.core.shapes import RegionMasks
from clora_ext.engine.masks import ImageMasks
from clora_ext.engine.open_step import OpenStep
from clora_ext.engine.readings import Readings
from clora_ext.engine.remaining import Remaining
from clora_ext.engine.report import JobReport, StepReport
from clora_ext.settings.knobs import Settings


class Telling:
    """What is read of the device is read by one copy, and of masks that do not change any more only once."""

    def __init__(self, report: JobReport, settings: Settings, branches: Sequence[int]) -> None:
        self._report, self._masked = report, settings.masked
        self._remaining = Remaining(settings, branches)
        self._last_areas: tuple[tuple[float, ...], ...] | None = None
        """Of masks that are locked and have been told."""

    def tell(
        self,
        step: OpenStep,
        rows: int,
        images: Sequence[ImageMasks],
        before: Sequence[float],
        notes: Sequence[str],
        *,
        replayed: bool,
    ) -> StepReport:
        """The report of ``step``, of whose rows so many were predicted; ``before`` are the positions so far."""
        log, point = step.log, step.facts.point
        regions = [] if self._last_areas is not None else self._masks_of(images)
        read = Readings(log, regions)
        areas = read.areas if self._last_areas is None else self._last_areas
        locked = sum(image.locked for image in images)
        self._last_areas = areas if locked == len(images) else None
        told = StepReport(
            index=point.index,
            position=step.plan.position,
            losses=read.losses,
            gradient_rms=read.gradient_rms,
            separation=read.separation,
            areas=areas,
            locked=locked,
            routed=sum(image.routed for image in step.plan.images),
            rows=rows,
            gradient_rows=log.rows,
            seconds=time.perf_counter() - step.began,
            notes=(*read.notes, *notes),
            replayed=replayed,
            remaining=self._remaining.after(step.plan, point, step.began, before, images[0].state),
        )
        self._report.steps.append(told)
        return told

    def _masks_of(self, images: Sequence[ImageMasks]) -> list[RegionMasks]:
        """Where masks are used, the report is told of them and of the maps that they were made of."""
        regions = [image.regions for image in images if image.regions is not None]
        if self._masked:
            self._report.region_masks = [found.float().cpu() for found in regions]
            self._report.maps = [image.strengths.float().cpu() for image in images if image.strengths is not None]
        return regions
