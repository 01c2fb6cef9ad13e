"""One denoising step of CLoRA, in two halves around the host's own forward. Start reading here.

before: gradient passes move the latent until the concepts' maps part, then our rows join the host's batch
after:  maps become masks, the branches' predictions become one

What a step does is decided before it (``engine.step_plan``). Once masks are locked, one routed row takes the branches'
place: each of its pixels is drawn as the branch that owns it would draw it (docs/method.md, "Lock and route").
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from clora_ext.attention.levels import LayerFactors
from clora_ext.batch.conditions import StepConditions
from clora_ext.batch.context import Forward, ForwardContext
from clora_ext.batch.plan import BranchMaps, Columns
from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import BranchLoras, Half, Row
from clora_ext.core.maps import Grid, choose_level, grid_at
from clora_ext.core.schedule import SamplingPoint
from clora_ext.core.shapes import Latent, Prediction, RegionMasks
from clora_ext.engine.gradient import GradientTools, PredictionByRow, StepFacts, maps_by_image, predict_rows
from clora_ext.engine.masks import ImageMasks
from clora_ext.engine.memory import split_evenly
from clora_ext.engine.open_step import Fused, Move, OpenStep, fuse_images
from clora_ext.engine.own_masks import NO_OWN_MASKS, OwnMasks
from clora_ext.engine.port import Denoiser
from clora_ext.engine.prepare import TokenPlans
from clora_ext.engine.replay import Replay
from clora_ext.engine.report import JobReport
from clora_ext.engine.step_plan import StepPlan, plan_step
from clora_ext.engine.telling import Telling
from clora_ext.engine.update import UpdateResult, update_latent


class Composition:
    """One sampling run of a batch of images with the same LoRAs.

    ``step`` is the step that is under way; ``report`` tells of those that are over. ``masks`` are region masks of every
    image that are locked from the start; none to find them, with the help of somebody's ``own`` on the latent's grid.
    """

    def __init__(
        self,
        tools: GradientTools,
        plans: TokenPlans,
        attention: LayerFactors,
        report: JobReport,
        masks: Sequence[RegionMasks] = (),
        own: OwnMasks = NO_OWN_MASKS,
    ) -> None:
        self.tools = tools
        self.settings = tools.settings
        self.plans = plans
        self.attention = attention
        self.factors = sorted(set(attention.values()))
        self.report = report
        self._telling = Telling(report, tools.settings, tuple(tools.recorder.context.loras.branches))
        known: Sequence[RegionMasks | None] = masks or [None] * plans.images
        self.masks = [ImageMasks(tools.settings, found, own) for found in known]
        self.replay: Replay | None = None
        """What runs late steps without Python, where somebody wants that."""
        self.step: OpenStep | None = None
        self._regions: RegionPyramid | None = None
        self._masks_changed = False
        """Whether ``_regions`` has older masks than there are."""
        self._before: tuple[float, ...] = ()
        """The first and the highest position of the steps so far: a sampler may go back in time."""

    @property
    def context(self) -> ForwardContext:
        """What the hooks on the UNet read."""
        return self.tools.recorder.context

    @property
    def found_masks(self) -> list[RegionMasks]:
        """The region masks of every image, on the CPU; empty where an image has none."""
        found = [image.regions.float().cpu() for image in self.masks if image.regions is not None]
        return found if len(found) == len(self.masks) else []

    @property
    def loras(self) -> BranchLoras:
        """Which LoRAs are active in which branch, and how much of each counts now."""
        return self.context.loras

    def reopen_masks(self, position: float) -> None:
        """Find masks anew that another pass has locked, if this one begins before they are locked: things may still
        move. ``position`` is that of the first step, on the scale of the settings.
        """
        if position < self.settings.lock_at:
            for image in self.masks:
                image.reopen()

    def weigh(self, now: Mapping[str, float]) -> None:
        """From the next step on so much of every LoRA's weight counts, by its key; 1 where nothing is said."""
        if now != self.loras.now:
            self.context.loras = replace(self.loras, now=now)
            self._regions = None

    # -- before the host's forward ------------------------------------------------------------------------------

    def before(self, point: SamplingPoint, latent: Latent, denoiser: Denoiser) -> Move:
        """Update the latent, then open the host's forward over the rows of ``step``."""
        began = time.perf_counter()
        size = (latent.shape[-2], latent.shape[-1])
        self.tools.memory.fit(size, len(self.masks))
        states = [image.state for image in self.masks]
        plan = plan_step(self.settings, self.loras.branches, point, self._before, states)
        facts = self.facts(point, size, denoiser)
        updated = self._update(plan, facts, latent)
        first, highest = self._before or (plan.position, plan.position)
        self._before = first, max(plan.position, highest)
        kept = {row: updated.predictions[row] for row in plan.kept}
        regions = self._regions_at(size) if plan.needs_regions else None
        self.step = OpenStep(plan, facts, plan.predicted_rows, kept, regions, updated.log, began)
        self._open_forward(self.step)
        return Move(updated.predict_from, updated.latent)

    def facts(self, point: SamplingPoint, size: Grid, denoiser: Denoiser) -> StepFacts:
        """What does not change during a step on a latent of ``size`` (height, width)."""
        level = choose_level(size, self.factors, quarter=self.settings.map_level == "quarter")
        return StepFacts(
            point=point,
            denoiser=denoiser,
            conditions=StepConditions(denoiser.conditions),
            plans=self.plans.at(point.call),
            size=size,
            map_grid=grid_at(size, level),
        )

    def _update(self, plan: StepPlan, facts: StepFacts, latent: Latent) -> UpdateResult:
        """The latent's updates, and the masks that the maps of the last one make."""
        rows = plan.gradient_rows + plan.joined_rows
        regions = self._regions_at(facts.size) if any(row.routed for row in rows) else None
        forward = Forward(rows, self.columns(plan.gradient_rows, facts), regions, facts.conditions)
        result = update_latent(self.tools, facts, latent, plan.updates, forward)
        for image, maps in result.maps.items():
            self._read_masks(image, facts, maps)
        return result

    def columns(self, rows: Sequence[Row], facts: StepFacts) -> dict[Row, Columns]:
        """The token columns whose maps are wanted, of the rows of ``rows`` that show any."""
        both = self.settings.maps_from == "both"
        shown = [row for row in rows if both or row.half is Half.COND]
        return {row: facts.plans[row.image].columns(row.branch) for row in shown}

    def _regions_at(self, size: Grid) -> RegionPyramid:
        """Who draws what, for a latent of ``size``, by the masks that there are now."""
        found = {number: image.regions for number, image in enumerate(self.masks) if image.regions is not None}
        regions = self._regions
        if regions is None or regions.latent != size or regions.masks.keys() != found.keys():
            regions = self._regions = RegionPyramid(found, self.loras, size)
        elif self._masks_changed:
            regions.renew(found)
        self._masks_changed = False
        return regions

    def _open_forward(self, step: OpenStep) -> None:
        """The host's forward is next; it is recorded where masks are read from it."""
        reading = [row for row in step.rows if step.plan.images[row.image].reads_masks]
        columns = self.columns(reading, step.facts)
        self.context.begin(Forward(step.rows, columns, step.regions, step.facts.conditions, self._late_steps(step)))
        if reading:
            self.tools.recorder.start(step.facts.map_grid)

    def _late_steps(self, step: OpenStep) -> int:
        """How many steps are left that call the same as this one; 0 where it is no late one."""
        late = step.plan.only_routes and all(image.locked for image in self.masks)
        return step.facts.point.total - step.facts.point.index if late else 0

    def predict(self, latent: Latent) -> PredictionByRow:
        """The predictions of the step's rows from ``latent``, in as many UNet calls as memory asks for."""
        step = self.open_step()

        def predicted() -> PredictionByRow:
            self._open_forward(step)
            found: PredictionByRow = {}
            for part in split_evenly(step.rows, self.tools.memory.plain_rows):
                each = predict_rows(step.facts.denoiser, step.facts.conditions, latent, part)
                found |= dict(zip(part, each, strict=True))
            return found

        return self.tools.memory.guarded(predicted, len(step.rows), graph=False)

    # -- after the host's forward -------------------------------------------------------------------------------

    def after(self, predictions: Mapping[Row, Prediction]) -> Fused:
        """Close the step and fuse. ``predictions`` has one [channel, y, x] for each of its rows.

        A host that left the unconditional rows out (its own way to save time) gets the conditional ones for them.
        """
        step = self.open_step()
        self.abandon()
        if any(image.reads_masks for image in step.plan.images):
            recorded = maps_by_image(self.tools.recorder.take())
            for image, maps in recorded.items():
                self._read_masks(image, step.facts, maps)
        for masks_of_image in self.masks:
            if masks_of_image.settle(step.plan.lock):
                self._masks_changed = True
        fused = fuse_images(step.plan, self.masks, {**step.kept, **predictions})
        self._record(step, len(predictions))
        return fused

    def abandon(self) -> None:
        """The forward between the two halves is over, or has failed: hooks are inert again."""
        self.context.end()
        self.step = None

    def open_step(self) -> OpenStep:
        """The step that is under way. Raises ``RuntimeError`` outside of one."""
        if self.step is None:
            raise RuntimeError("no step is under way; call before() first")
        return self.step

    def _read_masks(self, image: int, facts: StepFacts, maps: BranchMaps) -> None:
        if not self.masks[image].locked:
            self.masks[image].read(facts.plans[image], maps)
            self._masks_changed = True

    def _record(self, step: OpenStep, rows: int) -> None:
        """Tell the report and the host what the step did."""
        replayed, notes = self.replay.take() if self.replay else (False, ())
        notes = (*self.tools.memory.take_notes(), *notes)
        told = self._telling.tell(step, rows, self.masks, self._before, notes, replayed=replayed)
        self.tools.host.show_progress(told)
