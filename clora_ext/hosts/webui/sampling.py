"""One sampling run inside the host's CFG denoiser: the engine's two halves around the host's own forward."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Any

import torch
from modules import devices, script_callbacks, sd_samplers_common, shared
from torch import Tensor, nn

from clora_ext.core.concepts import Plan
from clora_ext.core.rows import Half, Row, by_length
from clora_ext.core.schedule import Moment
from clora_ext.engine.memory import split
from clora_ext.engine.report import StepReport
from clora_ext.engine.session import installed
from clora_ext.engine.step import Composition, Move
from clora_ext.errors import HostError
from clora_ext.hosts.webui import conditions, networks
from clora_ext.hosts.webui.live import masks_in_preview
from clora_ext.hosts.webui.options import option
from clora_ext.lora.deltas import Delta


class Failed(BaseException):
    """Carries an error of ours out of the host's callbacks to where sampling was started."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Sampling:
    """A composition bound to the host: call ``running`` around the host's sampling and ``attach`` its denoiser.

    ``plan_at`` gives the plans of all images for a step, for prompts that are edited while sampling.
    """

    def __init__(
        self,
        composition: Composition,
        schedules: conditions.Schedules,
        deltas: Callable[[], Mapping[str, Mapping[nn.Module, Delta]]],
        plan_at: Callable[[int], Sequence[Plan]],
        steps: int,
    ) -> None:
        self.composition = composition
        self.schedules = schedules
        self.deltas = deltas
        self.plan_at = plan_at
        self.steps = steps
        self._denoiser: Any = None
        self._x: Tensor | None = None
        self._call: _Call | None = None

    @contextmanager
    def running(self) -> Generator[None, None, None]:
        """Hooks, callbacks and the denoiser's wrapper are in place inside, and gone after, whatever happened."""
        unet = shared.sd_model.model.diffusion_model
        networks.settle(unet)
        with ExitStack() as stack:
            stack.enter_context(installed(self.composition, unet, self.deltas(), devices.device))
            for register, callback in (
                (script_callbacks.on_cfg_denoiser, self._denoiser_called),
                (script_callbacks.on_cfg_denoised, self._denoised),
            ):
                register(callback, name="clora")
                stack.callback(script_callbacks.remove_callbacks_for_function, callback)
            stack.enter_context(masks_in_preview(lambda: self.composition.report.weights))
            stack.callback(self._detach)
            try:
                yield
            except Failed as failed:
                raise failed.error from failed.error.__cause__

    def attach(self, denoiser: Any) -> None:
        """Watch ``denoiser``: its ``forward`` tells us the sampler's own latent, the one that a move must change."""
        original = denoiser.forward

        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            self._x = x
            try:
                return original(x, *args, **kwargs)
            finally:
                if self._call is not None:
                    self._call.release()
                self._x = self._call = None
                self.composition.abandon()

        denoiser.forward = forward
        self._denoiser = denoiser

    def _detach(self) -> None:
        if self._denoiser is not None:
            self._denoiser.__dict__.pop("forward", None)
            self._denoiser = None

    # -- the host's callbacks -----------------------------------------------------------------------------------

    def _denoiser_called(self, params: Any) -> None:
        if params.denoiser is self._denoiser or self._denoiser is None:
            self._guarded(self._before, params)

    def _denoised(self, params: Any) -> None:
        if self._call is not None:
            self._guarded(self._after, params)

    def _guarded(self, action: Callable[[Any], None], params: Any) -> None:
        try:
            action(params)
        except Exception as error:
            raise Failed(error) from error

    def _before(self, params: Any) -> None:
        images = len(self.composition.plans)
        if self._denoiser is None or self._x is None or params.x.shape[0] != 2 * images:
            msg = "Another extension changes the batch or the sampler; turn it off to compose with CLoRA."
            raise HostError(msg)
        call = _Call(self, params, self._x)
        self.composition.plans = tuple(self.plan_at(params.denoiser.step))
        move = self.composition.before(call.moment, call.latent, call)
        call.join(move)
        self._call = call
        call.answer()

    def _after(self, params: Any) -> None:
        call, composition = self._call, self.composition
        self._call = None
        call.release()
        rows, seen = composition.rows, composition.passage.seen
        if seen not in (len(rows), len(rows) - call.images):
            msg = f"The UNet saw {seen} of {len(rows)} rows; another extension changes the batch, turn it off."
            raise HostError(msg)
        found = dict(zip(composition.layout.rows, params.x, strict=False))
        predictions = {row: found[row] for row in rows[:seen]}
        fused = composition.after(predictions)
        if option("progress"):
            shared.state.textinfo = _progress(composition.report.steps[-1])
        params.x[: call.images] = fused.cond + call.stale
        params.x[-call.images :] = fused.uncond + call.stale


def _progress(step: StepReport) -> str:
    """What the page says while it waits."""
    apart = "" if step.separation is None else f", separation {step.separation:.2f}"
    return f"CLoRA: step {step.index + 1}{apart}"


class _Call:
    """One call of the host's denoiser; meets the engine's port.

    k-diffusion samplers hold x = z * sqrt(sigma^2 + 1) and predict the denoised latent; timestep samplers hold z and
    predict the noise.
    """

    def __init__(self, sampling: Sampling, params: Any, x: Tensor) -> None:
        self.sampling = sampling
        self.params = params
        self.x = x
        self.images = x.shape[0]
        self.stale: Tensor | float = 0.0
        self._answered: nn.Module | None = None
        self._apart: frozenset[Row] = frozenset()
        """Unconditional rows among the host's conditional ones, of another length of text."""
        sigma = float(params.sigma[0])
        model = params.denoiser.inner_model
        self.denoises = hasattr(model, "sigma_to_t")
        self.scale = math.sqrt(sigma**2 + 1.0) if self.denoises else 1.0
        time = float(model.sigma_to_t(params.sigma[:1])) if self.denoises else sigma
        self.latent = x / self.scale
        self.moment = Moment(params.denoiser.step, sampling.steps, time / 999.0)

    def forward(self, latent: Tensor, rows: Sequence[Row]) -> Tensor:
        """Calls of the host's model as its denoiser makes them (sd_samplers_cfg_denoiser.py), conditional rows first:
        one, or one for each half where their texts differ in length."""
        if shared.state.interrupted or shared.state.skipped:
            raise sd_samplers_common.InterruptedException
        model, found = self.params.denoiser.inner_model, []
        for places, text in by_length(rows, self.texts):
            images = [rows[place].image for place in places]
            condition = {"c_crossattn": [text], "c_concat": [self.params.image_cond[images]]}
            found.append(model((latent * self.scale)[images], self.params.sigma[images], cond=condition))
        return torch.cat(found)

    def texts(self, rows: Sequence[Row]) -> Tensor:
        """The conditions of the rows at this step."""
        texts = self._texts(rows)
        return conditions.stacked([texts[row] for row in rows])

    def answer(self) -> None:
        """Where a gradient pass has predicted rows already, answer the host's model call for them (``release``).

        Calls for more rows than memory holds are made in parts, and those for unconditional rows among the conditional
        ones with texts of their own length.
        """
        composition = self.sampling.composition
        kept, at_once, apart = composition.kept, composition.memory.plain_rows, self._apart
        if not kept and not apart and (at_once is None or len(composition.rows) <= at_once):
            return
        model, ahead = self.params.denoiser.inner_model, list(composition.layout.rows)
        original = model.forward

        def forward(x: Tensor, sigma: Tensor, *, cond: Mapping[str, Sequence[Tensor]]) -> Tensor:
            rows = [ahead.pop(0) for _ in x]
            missing = [place for place, row in enumerate(rows) if row not in kept]
            found = {row: prediction for row, prediction in kept.items() if row in rows}
            runs = [list(places) for _, places in groupby(missing, key=lambda place: rows[place] in apart)]
            for part in [part for places in runs for part in split(places, at_once)]:
                texts = {name: [tensor[part] for tensor in tensors] for name, tensors in cond.items()}
                if rows[part[0]] in apart:
                    texts["c_crossattn"] = [self.texts([rows[place] for place in part])]
                made = original(x[part], sigma[part], cond=texts)
                found |= {rows[place]: one for place, one in zip(part, made, strict=True)}
            return torch.stack([found[row] for row in rows])

        model.forward = forward
        self._answered = model

    def release(self) -> None:
        """Let the host's model answer by itself again."""
        if self._answered is not None:
            self._answered.__dict__.pop("forward", None)
            self._answered = None

    def join(self, move: Move) -> None:
        """Put the moved latent into the sampler and our rows into the host's batch, between cond and uncond."""
        params, images = self.params, self.images
        if move.latent is not self.latent:
            if move.at is not self.latent:
                params.x = torch.cat([self._moved(move.at)] * 2).to(params.x.dtype)
            self.x.copy_(self._moved(move.latent))
            if self.denoises and move.at is not move.latent:
                self.stale = self.x - params.x[:images]  # stale noise: the denoised latent moves with the latent
        rows = self.sampling.composition.layout.injected
        if not rows:
            return
        places = [row.image for row in rows]
        texts = self._texts(rows)
        tokens = params.text_cond.shape[1]
        if tokens != params.text_uncond.shape[1]:
            self._apart = frozenset(row for row in rows if row.half is Half.UNCOND)
        texts |= {row: params.text_cond[row.image] for row in self._apart}  # to hold the place
        ours = conditions.stacked([texts[row] for row in rows], tokens).to(params.text_cond)
        theirs = conditions.stacked(list(params.text_cond), ours.shape[1])
        params.text_cond = torch.cat([theirs, ours])
        params.x = _between(params.x, images, params.x[places])
        params.sigma = _between(params.sigma, images, params.sigma[places])
        params.image_cond = _between(params.image_cond, images, params.image_cond[places])

    def _moved(self, latent: Tensor) -> Tensor:
        """The sampler's latent moved as ours was, to the last bit where that is not at all."""
        return self.x + (latent - self.latent) * self.scale

    def _texts(self, rows: Sequence[Row]) -> dict[Row, Tensor]:
        """Conditions of ``rows``: the host's own where we encoded none."""
        params, schedules = self.params, self.sampling.schedules
        native = {
            row: (params.text_cond if row.half is Half.COND else params.text_uncond)[row.image]
            for row in rows
            if (row.branch, row.half) not in schedules
        }
        return native | conditions.at_step(schedules, [row for row in rows if row not in native], self.moment.index)


def _between(batch: Tensor, images: int, ours: Tensor) -> Tensor:
    """``batch`` (cond rows, uncond rows) with ``ours`` in the middle."""
    return torch.cat([batch[:images], ours, batch[images:]])
