"""One call of the host's denoiser: the engine's denoiser for it, our rows in its batch, and its answer."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from clora_ext.batch.conditions import Condition, of_images, stacked
from clora_ext.batch.rows import Half, Row
from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine.memory import split_evenly
from clora_ext.engine.open_step import Move, OpenStep
from clora_ext.hosts.webui.drive import conditions
from clora_ext.hosts.webui.drive.marks import marks_of
from clora_ext.hosts.webui.drive.noise_level import NoiseLevel
from clora_ext.hosts.webui.drive.samplers import SamplerTraits
from clora_ext.patching import Function, replaced


class DenoiserCall:
    """Meets ``engine.port.Denoiser`` at one call; ``params`` are the host's of its callback ``on_cfg_denoiser``."""

    def __init__(
        self, params: Any, x: Tensor, schedules: conditions.Schedules, traits: SamplerTraits, steps: int
    ) -> None:
        self.params = params
        self.x = x
        """The sampler's own latent, the one that an update must change."""
        self.schedules = schedules
        self.marks = marks_of(params)
        self.images = x.shape[0]
        self.correction: Tensor | float = 0.0
        """What a prediction made before the last update lacks, in the model's own kind of prediction."""
        denoiser = params.denoiser
        self.level = NoiseLevel(denoiser.inner_model, params.sigma)
        masked = denoiser.mask is not None
        self.free = denoiser.nmask if masked else None
        """Where an inpainted picture is drawn, 1, and where it is kept, 0; None where all of it is drawn."""
        self.seen = params.x[: self.images] if masked and denoiser.mask_before_denoising else x
        """The sampler's latent as the model sees it: timestep samplers put the kept part in before."""
        self.target = self.seen
        """The same after the updates."""
        self.latent = self.seen / self.level.scale
        call = denoiser.step
        index, trial = traits.place(call, steps)
        self.point = SamplingPoint(index, steps, self.level.noise, call, trial)
        self._apart: frozenset[Row] = frozenset()
        """Unconditional rows among the host's conditional ones, of another length of text."""

    # -- the engine's denoiser ----------------------------------------------------------------------------------

    def conditions(self, rows: Sequence[Row]) -> Sequence[Condition]:
        """Of every row: the host's own where we have encoded none."""
        encoded = self.schedules.at(rows, self.point.call)
        return [encoded[row] if row in encoded else self._native(row) for row in rows]

    def _native(self, row: Row) -> Condition:
        batch = self.params.text_cond if row.half is Half.COND else self.params.text_uncond
        return self.marks.off(conditions.condition_of(batch, row.image))

    def predict(self, latent: Tensor, rows: Sequence[Row], condition: Condition) -> Tensor:
        """A call of the host's model as its denoiser makes them (sd_samplers_cfg_denoiser.py)."""
        images = [row.image for row in rows]
        marked = self.marks.on(condition, rows)
        arguments = conditions.model_arguments(marked, of_images(self.params.image_cond, images))
        model = self.params.denoiser.inner_model
        samples = of_images(latent * self.level.scale, images)
        found: Tensor = model(samples, of_images(self.params.sigma, images), cond=arguments)
        return found

    # -- our rows in the host's batch ---------------------------------------------------------------------------

    def join(self, move: Move, step: OpenStep) -> None:
        """Predict from where the move says, with our rows in the host's batch, between cond and uncond."""
        self._take_move(move)
        rows = step.plan.injected_rows
        if not rows:
            return
        params, images = self.params, self.images
        places = [row.image for row in rows]
        params.text_cond = self._joined_texts(rows)
        params.x = _between(params.x, images, of_images(params.x[:images], places))
        params.sigma = _between(params.sigma, images, of_images(params.sigma[:images], places))
        params.image_cond = _between(params.image_cond, images, of_images(params.image_cond[:images], places))

    def _take_move(self, move: Move) -> None:
        params = self.params
        if move.latent is self.latent:
            return
        if move.predict_from is not self.latent:
            start = self._scaled(move.predict_from)
            params.x = torch.cat([start] * 2).to(params.x.dtype)
        self.target = self._scaled(move.latent)
        if self.level.follows and move.predict_from is not move.latent:
            self.correction = (self.target - params.x[: self.images]) * self.level.follows

    def _scaled(self, latent: Tensor) -> Tensor:
        """The latent that the model sees moved as ours was, to the last bit where that is not at all."""
        far = (latent - self.latent) * self.level.scale
        return self.seen + (far if self.free is None else far * self.free)

    @property
    def has_moved(self) -> bool:
        """Whether there was an update that moved anything."""
        return self.target is not self.seen

    def move_sampler(self) -> None:
        """Move the latent that the sampler goes on from."""
        if self.seen is self.x:
            self.x.copy_(self.target)
        else:
            self.x.add_(self.target - self.seen)

    def move_solver(self, x: Tensor, denoised: Tensor, earlier: Sequence[Tensor]) -> None:
        """The same for a solver that goes on from an ``x`` of its own.

        It has made the ``denoised`` latent from the prediction and the latent before, and keeps ``earlier`` ones.
        """
        far = self.target - self.seen
        x.add_(far)
        denoised.add_(far / self.level.alpha)
        for each in earlier:
            each.add_(far * self.level.denoised_follows)

    def _joined_texts(self, rows: Sequence[Row]) -> Any:
        """The texts of the host's conditional rows and of ours, of one length."""
        params = self.params
        if params.text_cond.shape[1] != params.text_uncond.shape[1]:
            self._apart = frozenset(row for row in rows if row.half is Half.UNCOND)
        base = [Row(image, 0) for image in range(self.images)]
        natives = [self._native(row) for row in base]
        own = dict(zip(rows, self.conditions(rows), strict=True))
        own |= {row: natives[row.image] for row in self._apart}  # holds the place
        ours = stacked([own[row] for row in rows], len(natives[0].tokens))
        theirs = stacked(natives, ours.tokens.shape[1])
        parts = self.marks.on(theirs, base), self.marks.on(ours, rows)
        return conditions.joined([conditions.to_host(part, params.text_cond) for part in parts])

    # -- the host's call of its model ---------------------------------------------------------------------------

    @contextmanager
    def answering(self, step: OpenStep, at_once: int | None) -> Generator[None, None, None]:
        """While inside, the host's model answers for rows that a gradient pass has predicted already.

        Calls for more rows than memory holds (``at_once``) are made in parts, and those for unconditional rows among
        the conditional ones with texts of their own length.
        """
        too_many = at_once is not None and len(step.rows) > at_once
        if not step.kept and not self._apart and not too_many:
            yield
            return
        with replaced(self.params.denoiser.inner_model, "forward", lambda model: self._answer(model, step, at_once)):
            yield

    def _answer(self, model: Function, step: OpenStep, at_once: int | None) -> Function:
        ahead = list(step.plan.rows)

        def forward(x: Tensor, sigma: Tensor, *, cond: Mapping[str, Any]) -> Tensor:
            rows = [ahead.pop(0) for _ in x]
            found = {row: prediction for row, prediction in step.kept.items() if row in rows}
            missing = [place for place, row in enumerate(rows) if row not in found]
            for part in self._parts(rows, missing, at_once):
                chosen = conditions.chosen_rows(cond, part)
                if rows[part[0]] in self._apart:
                    chosen |= self._own_texts([rows[place] for place in part], chosen)
                made = model(x[part], sigma[part], cond=chosen)
                found |= {rows[place]: one for place, one in zip(part, made, strict=True)}
            return torch.stack([found[row] for row in rows])

        return forward

    def _parts(self, rows: Sequence[Row], missing: Sequence[int], at_once: int | None) -> list[Sequence[int]]:
        """The places of the rows to predict, in runs of one length of text, a few at a time."""
        parts: list[Sequence[int]] = []
        for _, places in groupby(missing, key=lambda place: rows[place] in self._apart):
            parts.extend(split_evenly(list(places), at_once))
        return parts

    def _own_texts(self, rows: Sequence[Row], like: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the model is given for rows whose texts are of another length."""
        texts = self.marks.on(stacked(self.conditions(rows)), rows)
        return conditions.model_arguments(texts, like["c_concat"][0])


def _between(batch: Tensor, images: int, ours: Tensor) -> Tensor:
    """``batch`` (cond rows, uncond rows) with ``ours`` in the middle."""
    return torch.cat([batch[:images], ours, batch[images:]])
