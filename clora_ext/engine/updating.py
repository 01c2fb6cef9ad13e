"""Gradient passes: the latent is moved until the concepts' maps part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clora_ext.attention.capture import After, Recorder
from clora_ext.core import guidance, loss
from clora_ext.core import maps as cross_attention
from clora_ext.core.concepts import Plan
from clora_ext.core.rows import Row
from clora_ext.core.schedule import Moment, step_size
from clora_ext.core.shapes import Latent
from clora_ext.engine.memory import Memory
from clora_ext.engine.port import Denoiser
from clora_ext.settings import Settings

Maps = Mapping[int, Tensor]
"""Recorded maps [column, height, width] of one image, by branch."""


@dataclass
class Log:
    """What the updates of one step came to."""

    losses: list[float] = field(default_factory=list)
    gradient_rms: list[float] = field(default_factory=list)
    separation: float | None = None
    notes: list[str] = field(default_factory=list)
    rows: int = 0
    """UNet rows that were differentiated."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A latent that was updated: ``at`` is the one before its last update, where ``maps`` (per image) and
    ``predictions`` of the last pass were made; no predictions where that pass was cut short.
    """

    at: Latent
    latent: Latent
    maps: Mapping[int, Maps]
    predictions: Mapping[Row, Tensor]


@dataclass(frozen=True, slots=True)
class Differentiated:
    """A gradient pass: the loss, its gradient to the latent, how far each image's concepts are apart, and what else
    the pass has found on the way.
    """

    loss: float
    gradient: Latent
    apart: Mapping[int, float]
    maps: Mapping[int, Maps]
    predictions: Mapping[Row, Tensor]


class Updating:
    """Moves latents against the gradient of their loss; every image of a batch by itself."""

    def __init__(self, settings: Settings, recorder: Recorder, memory: Memory) -> None:
        self.settings = settings
        self.recorder = recorder
        self.memory = memory
        self.loss_scale = 1.0

    def start(self, moment: Moment, denoiser: Denoiser, size: tuple[int, int]) -> None:
        """A step begins; its maps are of ``size``."""
        self.moment, self.denoiser, self.size = moment, denoiser, size

    def run(self, latent: Latent, times: int, plans: Mapping[int, Plan], rows: Sequence[Row]) -> tuple[Moved, Log]:
        """Up to ``times`` updates of the images of ``plans``, by ``rows`` of them.

        The last pass keeps its predictions where the settings let the step use them (``refresh`` off): the rest of
        that forward is then run without a graph.
        """
        moved, log = Moved(latent, latent, {}, {}), Log()
        for number in range(times):
            then = After.STOP if self.settings["refresh"] or number < times - 1 else After.DETACH
            moved, apart = self._pass(moved, plans, rows, then, log)
            enough = self.settings["rounds_enough"]
            plans = {image: plan for image, plan in plans.items() if not 0.0 < enough <= apart[image]}
            rows = [row for row in rows if row.image in plans]
            if not rows:
                break
        return moved, log

    def _pass(
        self, before: Moved, plans: Mapping[int, Plan], rows: Sequence[Row], then: After, log: Log
    ) -> tuple[Moved, dict[int, float]]:
        """z' = z - alpha * dL/dz, with L summed over images: no image's gradient reaches another."""
        latent = before.latent
        found = self.memory.guarded(lambda: self._differentiated(latent, plans, rows, then), len(rows), graph=True)
        log.rows += len(rows)
        log.losses.append(found.loss)
        log.gradient_rms.append(float(found.gradient.float().square().mean().sqrt()))
        log.separation = sum(found.apart.values()) / len(found.apart)
        after = self._moved(latent, found.gradient, list(plans), log)
        return Moved(latent, after, {**before.maps, **found.maps}, found.predictions), found.apart

    def _differentiated(
        self, latent: Latent, plans: Mapping[int, Plan], rows: Sequence[Row], then: After
    ) -> Differentiated:
        """dL/dz by as many rows at once as memory holds.

        The loss needs nothing of the UNet but its maps. Where not all rows fit, the maps of all but the last group are
        made without a graph; their groups are run again with the gradient of their maps, one after the other. The first
        pass of all is preceded by one row that finds out where the last map is, a graph of the whole UNet would take
        twice the memory, and what a graph up to there saves.
        """
        if not self.recorder.knows(self.size):
            self.memory.survey(lambda seen: self._forward(_leaf(latent), rows[:1], After.STOP, seen))
        *early, last = self.memory.groups(rows)
        with torch.no_grad():
            ahead = {row: maps for group in early for row, maps in self._forward(latent, group, After.STOP)[0].items()}
        with torch.enable_grad():
            leaf = _leaf(latent)
            with self.memory.graph():
                held, predictions = self._forward(leaf, last, then)
            for found in ahead.values():
                found.requires_grad_(True)  # noqa: FBT003
            maps = by_image({row: (ahead | held)[row] for row in rows})
            losses = {image: self._loss(maps[image], plan) for image, plan in plans.items()}
            total = torch.stack([found for found, _ in losses.values()]).sum()
            gradient, *shares = torch.autograd.grad(total * self.loss_scale, [leaf, *ahead.values()])
            of = dict(zip(ahead, shares, strict=True))
            for group in early:
                leaf = _leaf(latent)
                with self.memory.graph():
                    again, more = self._forward(leaf, group, then)
                gradient = gradient + torch.autograd.grad(list(again.values()), leaf, [of[row] for row in again])[0]
                predictions |= more
        apart = {image: separation for image, (_, separation) in losses.items()}
        return Differentiated(float(total.detach()), gradient / self.loss_scale, apart, _detached(maps), predictions)

    def _forward(
        self, latent: Latent, rows: Sequence[Row], then: After, seen: Callable[[], None] = lambda: None
    ) -> tuple[dict[Row, Tensor], dict[Row, Tensor]]:
        """Maps of ``rows``, and their predictions where the forward is to go on; ``seen`` is called at every map."""
        predictions: dict[Row, Tensor] = {}
        with self.recorder.passage.over(rows), self.recorder.recording(self.size, then, seen):
            found = self.denoiser.forward(latent, rows)
            if then is After.DETACH:
                predictions = {row: one.detach() for row, one in zip(rows, found, strict=True)}
        return self.recorder.take(), predictions

    def _moved(self, latent: Latent, gradient: Tensor, images: Sequence[int], log: Log) -> Latent:
        usable = [image for image in images if guidance.finite(gradient[image : image + 1])]
        if len(usable) < len(images):
            log.notes.append("an update was left out: its gradient was not finite")
        if not usable:
            return latent
        size = step_size(self.settings["step_size"], self.settings["step_decay"], self.moment)
        after = latent.clone()
        after[usable] = guidance.step(latent[usable], gradient[usable], size, clip=self.settings["step_clip"])
        return after

    def _loss(self, maps: Maps, plan: Plan) -> tuple[Tensor, float]:
        compared, groups = cross_attention.grouped(maps, plan, each=self.settings["word_maps"] == "each")
        total = loss.info_nce(compared, groups, self.settings["temperature"])
        if self.settings["presence"]:
            total = total + self.settings["presence"] * loss.absence(compared, groups)
        return total, loss.separation(compared, groups)


def _leaf(latent: Latent) -> Latent:
    """The latent as what gradients are taken to."""
    return latent.detach().requires_grad_(True)  # noqa: FBT003 - torch's signature


def by_image(recorded: Mapping[Row, Tensor]) -> dict[int, dict[int, Tensor]]:
    """Recorded maps per image and branch, averaged over the recorded halves of guidance."""
    halves: dict[int, dict[int, list[Tensor]]] = {}
    for row, found in recorded.items():
        halves.setdefault(row.image, {}).setdefault(row.branch, []).append(found)
    return {
        image: {branch: torch.stack(few).mean(dim=0) for branch, few in branches.items()}
        for image, branches in halves.items()
    }


def _detached(maps: Mapping[int, Maps]) -> dict[int, Maps]:
    return {image: {branch: found.detach() for branch, found in few.items()} for image, few in maps.items()}
