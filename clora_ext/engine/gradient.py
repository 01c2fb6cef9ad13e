"""One gradient pass: the loss of the concepts' maps and its gradient to the latent, by as many rows as memory holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from clora_ext.attention.capture import OnLastMap, Recorder, RowMaps
from clora_ext.batch.conditions import StepConditions
from clora_ext.batch.context import Forward
from clora_ext.batch.plan import BranchMaps, TokenPlan, grouped_maps
from clora_ext.batch.rows import Row
from clora_ext.core import loss
from clora_ext.core.maps import Grid
from clora_ext.core.schedule import SamplingPoint
from clora_ext.core.shapes import Gradient, Latent, Prediction, RecordedMaps, RowPredictions, Scalar
from clora_ext.engine.graphs import OnMap
from clora_ext.engine.memory import Memory, split_evenly
from clora_ext.engine.port import Denoiser, Host
from clora_ext.settings.knobs import Settings

ImageMaps = Mapping[int, BranchMaps]
"""Recorded maps by image and branch."""
PredictionByRow = dict[Row, Prediction]
"""The prediction [channel, y, x] of every row."""


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What does not change during a step."""

    point: SamplingPoint
    denoiser: Denoiser
    conditions: StepConditions
    plans: Sequence[TokenPlan]
    """Of every image."""
    size: Grid
    """Of the latent, (height, width)."""
    map_grid: Grid
    """Of the maps that are read."""


@dataclass(frozen=True, slots=True)
class GradientTools:
    """What passes of one run work with."""

    host: Host[Any]
    settings: Settings
    recorder: Recorder
    memory: Memory
    loss_scale: float = 1.0
    """What the loss is multiplied with so that half precision does not lose its gradient."""


@dataclass(frozen=True, slots=True)
class GradientResult:
    """The loss, its gradient, how far the concepts are apart in the mean of the images, and what was found on the way.

    ``predictions`` is empty where the pass was cut short.
    """

    loss: Scalar
    gradient: Gradient
    separation: Scalar
    maps: ImageMaps
    predictions: PredictionByRow


class GradientPass:
    """One pass over the rows of ``forward``; ``then`` says what becomes of it after the last map.

    Rows that show no maps are only predicted: in the call of the others where all fit into one, else in their own.
    """

    def __init__(self, tools: GradientTools, step: StepFacts, forward: Forward, then: OnLastMap) -> None:
        self.tools = tools
        self.step = step
        self.forward = forward
        self.then = then
        self.images = sorted({row.image for row in forward.rows})
        self.compared = tuple(row for row in forward.rows if row in forward.columns)
        """Those whose maps are."""

    def run(self, latent: Latent) -> GradientResult:
        """dL/dz, with L summed over images.

        The loss needs nothing of the UNet but its maps. Where not all rows fit, the maps of all but the last group are
        made without a graph; these groups then run again with the gradient of their maps, one after the other, to
        where that ends.
        """
        memory = self.tools.memory
        if not self.tools.recorder.knows(self.step.map_grid):
            self._survey(latent)
        (*early, last), alone = self._groups()
        ahead, predictions = self._ahead(latent, early)
        predictions |= self._predicted(latent, alone)
        with torch.enable_grad():
            leaf = _leaf(latent)
            with memory.building_graph():
                held, found = self._forward(leaf, last, self.then)
            predictions |= found
            recorded = ahead | held
            maps = maps_by_image({row: recorded[row] for row in self.compared})
            total, separation = self._loss(maps)
            gradient, *map_gradients = torch.autograd.grad(total * self.tools.loss_scale, [leaf, *ahead.values()])
            of_row = dict(zip(ahead, map_gradients, strict=True))
            for group in early:
                gradient = gradient + self._run_again(latent, group, of_row)
        unscaled = gradient / self.tools.loss_scale
        return GradientResult(total.detach(), unscaled, separation, _detached(maps), predictions)

    def _groups(self) -> tuple[list[Sequence[Row]], Sequence[Row]]:
        """The rows in the calls in which they are differentiated, and those that are predicted by themselves."""
        rows, memory = self.forward.rows, self.tools.memory
        along = [row for row in rows if row not in self.forward.columns]
        if along and memory.differentiates(len(rows)) and len(self.step.conditions.groups(rows)) == 1:
            return [rows], []
        return memory.groups(self.compared), along

    def _survey(self, latent: Latent) -> None:
        """One row finds out where the last map is (a graph of the whole UNet would take twice the memory of one up to
        there) and what a graph saves.
        """
        first = self.compared[:1]
        self.tools.memory.survey(lambda on_map: self._forward(_leaf(latent), first, OnLastMap.STOP, on_map))

    def look(self, latent: Latent, groups: Sequence[Sequence[Row]]) -> RowMaps:
        """The maps of the rows of ``groups``, a UNet call for each, made without a graph."""
        found: RowMaps = {}
        with torch.no_grad():
            for group in groups:
                maps, _ = self._forward(latent, group, OnLastMap.STOP)
                found |= maps
        return found

    def _ahead(self, latent: Latent, groups: Sequence[Sequence[Row]]) -> tuple[RowMaps, PredictionByRow]:
        """Maps made without a graph, to which gradients are taken, and predictions where there are to be any."""
        found: RowMaps = {}
        predictions: PredictionByRow = {}
        for group in groups:
            with torch.no_grad():
                maps, predicted = self._forward(latent, group, self.then)
            found |= maps
            predictions |= predicted
        for maps_of_row in found.values():
            maps_of_row.requires_grad_(True)  # noqa: FBT003 - torch's signature
        return found, predictions

    def _predicted(self, latent: Latent, rows: Sequence[Row]) -> PredictionByRow:
        """Predictions without a graph of rows whose maps nobody wants."""
        step, tools = self.step, self.tools
        predictions: PredictionByRow = {}
        for part in split_evenly(rows, tools.memory.plain_rows):
            tools.host.check_interrupt()
            forward = replace(self.forward, rows=tuple(part))
            with torch.no_grad(), tools.recorder.context.running(forward):
                found = predict_rows(step.denoiser, step.conditions, latent, part)
            predictions |= dict(zip(part, found, strict=True))
        return predictions

    def _run_again(self, latent: Latent, group: Sequence[Row], of_row: Mapping[Row, RecordedMaps]) -> Gradient:
        """A group's part of the gradient, from the gradient of its maps."""
        leaf = _leaf(latent)
        with self.tools.memory.building_graph():
            maps, _ = self._forward(leaf, group, OnLastMap.STOP_GRAPH)
        (gradient,) = torch.autograd.grad(list(maps.values()), leaf, [of_row[row] for row in maps])
        return gradient

    def _forward(
        self, latent: Latent, rows: Sequence[Row], then: OnLastMap, on_map: OnMap | None = None
    ) -> tuple[RowMaps, PredictionByRow]:
        """Maps of ``rows``, and their predictions where the forward is to go on."""
        step, recorder = self.step, self.tools.recorder
        self.tools.host.check_interrupt()
        predictions: PredictionByRow = {}
        forward = replace(self.forward, rows=tuple(rows))
        with recorder.context.running(forward), recorder.recording(step.map_grid, then, on_map):
            found = predict_rows(step.denoiser, step.conditions, latent, rows)
            if then is OnLastMap.DETACH:
                predictions = {row: one.detach() for row, one in zip(rows, found, strict=True)}
        return recorder.take(), predictions

    def _loss(self, maps: ImageMaps) -> tuple[Scalar, Scalar]:
        """The loss, summed over images, and how far their concepts are apart in the mean."""
        found = [self._image_loss(maps[image], self.step.plans[image]) for image in self.images]
        total = torch.stack([value for value, _ in found]).sum()
        return total, torch.stack([separation for _, separation in found]).mean()

    def _image_loss(self, maps: BranchMaps, plan: TokenPlan) -> tuple[Scalar, Scalar]:
        settings = self.tools.settings
        compared, groups = grouped_maps(maps, plan, each_token=settings.word_maps == "each")
        total = loss.info_nce(compared, groups, settings.temperature)
        if settings.presence:
            total = total + settings.presence * loss.absence(compared, groups)
        return total, loss.separation(compared, groups)


def predict_rows(denoiser: Denoiser, conditions: StepConditions, latent: Latent, rows: Sequence[Row]) -> RowPredictions:
    """The predictions of ``rows`` [row, channel, y, x], conditional ones first, each from its image's latent.

    One call of the UNet, or one for each half of guidance where their texts differ in length.
    """
    found: list[Tensor] = []
    for places, condition in conditions.groups(rows):
        chosen = [rows[place] for place in places]
        found.append(denoiser.predict(latent, chosen, condition))
    return torch.cat(found)


def maps_by_image(recorded: Mapping[Row, RecordedMaps]) -> dict[int, dict[int, RecordedMaps]]:
    """Recorded maps by image and branch, averaged over the recorded halves of guidance."""
    halves: dict[tuple[int, int], list[RecordedMaps]] = {}
    for row, found in recorded.items():
        halves.setdefault((row.image, row.branch), []).append(found)
    by_image: dict[int, dict[int, RecordedMaps]] = {}
    for (image, branch), few in halves.items():
        by_image.setdefault(image, {})[branch] = torch.stack(few).mean(dim=0)
    return by_image


def _leaf(latent: Latent) -> Latent:
    """The latent as what gradients are taken to."""
    return latent.detach().requires_grad_(True)  # noqa: FBT003 - torch's signature


def _detached(maps: ImageMaps) -> dict[int, dict[int, RecordedMaps]]:
    return {image: _detached_branches(branches) for image, branches in maps.items()}


def _detached_branches(branches: BranchMaps) -> dict[int, RecordedMaps]:
    return {branch: found.detach() for branch, found in branches.items()}
