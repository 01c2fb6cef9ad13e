"""One sampling run inside the host's CFG denoiser: the engine's two halves around the host's own forward."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from modules import script_callbacks, sd_samplers_timesteps_impl
from torch import Tensor

from clora_ext.core.shapes import RegionMasks
from clora_ext.engine.run import Run
from clora_ext.engine.step import Composition
from clora_ext.errors import BatchError, CLoRAError, HostError
from clora_ext.hosts.webui.drive import neighbours
from clora_ext.hosts.webui.drive.call import DenoiserCall
from clora_ext.hosts.webui.drive.conditions import Schedules
from clora_ext.hosts.webui.drive.live_strengths import LiveStrengths
from clora_ext.hosts.webui.drive.loaded_model import LoadedCheckpoint
from clora_ext.hosts.webui.drive.samplers import MovesBy, SamplerTraits
from clora_ext.patching import Function, Replacement, replaced

OpenRun = Callable[[Sequence[RegionMasks]], AbstractContextManager[Run[Schedules]]]
"""Composes on the model that is loaded now, with region masks that are locked already; none to find them."""

AtFirst = Callable[[Composition, DenoiserCall], None]


class OurFailure(BaseException):
    """Carries an error of ours out of the host's callbacks, which swallow every ``Exception``."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class DenoiserHook:
    """Composes in one sampling run of the host's ``sampler``, of ``steps`` steps, while it is ``running``.

    ``at_first`` is called once, before the first step.
    """

    def __init__(
        self,
        open_run: OpenRun,
        sampler: Any,
        traits: SamplerTraits,
        steps: int,
        strengths: LiveStrengths,
        at_first: AtFirst | None = None,
    ) -> None:
        self._at_first = at_first
        self.strengths = strengths
        self.traits = traits
        self.steps = steps
        self.sampler = sampler
        self.runs: list[Run[Schedules]] = []
        """Those that there were, one for each model that the host has sampled with."""
        self.notes: list[str] = []
        self._open_run = open_run
        self._model = LoadedCheckpoint.now()
        self._run: Run[Schedules] | None = None
        self._opened = ExitStack()
        self._x: Tensor | None = None
        self._call: DenoiserCall | None = None
        self._returned: list[Tensor] = []
        """The last predictions that the sampler was given, the latest first; as many as it keeps."""
        self._answering = ExitStack()
        self._showing = ExitStack()

    @contextmanager
    def running(self, masks: Sequence[RegionMasks] = ()) -> Generator[None, None, None]:
        """Callbacks and wrappers are in place inside, and gone after, whatever happened.

        ``masks`` are locked region masks to draw with; none to find them.
        """
        with ExitStack() as stack:
            stack.enter_context(self._opened)
            self._open(masks)
            for register, callback in (
                (script_callbacks.on_cfg_denoiser, self._denoiser_called),
                (script_callbacks.on_cfg_denoised, self._denoised),
            ):
                register(callback, name="clora")
                stack.callback(script_callbacks.remove_callbacks_for_function, callback)
            called = script_callbacks.callback_map["callbacks_cfg_denoised"]
            called.insert(0, called.pop())  # others may call the model here: by then our forward is over
            stack.enter_context(replaced(self.sampler.model_wrap_cfg, "forward", self._watch))
            stack.enter_context(replaced(self.sampler.model_wrap_cfg, "combine_denoised", self._combining))
            if self.traits.moves_by is MovesBy.SOLVER:
                stack.enter_context(replaced(sd_samplers_timesteps_impl, "UniPCCFG", self._moving_solver))
            try:
                yield
            except OurFailure as failure:
                raise _told(failure.error) from failure.error.__cause__
            except BatchError as error:
                raise _told(error) from error

    def _open(self, masks: Sequence[RegionMasks]) -> None:
        self._run = self._opened.enter_context(self._open_run(masks))
        self.runs.append(self._run)

    def _watch(self, original: Function) -> Function:
        """The denoiser's forward, which is given the sampler's own latent: the one that an update must change."""

        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            self._x = x
            try:
                self._showing.enter_context(self.strengths.shown())
                found = original(x, *args, **kwargs)
                self._returned = [found, *self._returned][: self.traits.history]
                return found
            finally:
                self._showing.close()
                self._answering.close()
                self._x = None
                if not self._moves_later():
                    self._call = None
                if self._run is not None:
                    self._run.composition.abandon()

        return forward

    def _combining(self, original: Function) -> Function:
        """Guidance, which another extension may have replaced: it is given what is fused, and none of our rows."""

        def combine_denoised(x_out: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self._call is not None:
                images = self._call.images
                x_out = torch.cat([x_out[:images], x_out[-images:]])
            return original(x_out, *args, **kwargs)

        return combine_denoised

    def _moves_later(self) -> bool:
        """Whether the move of the call that was just made waits for the solver."""
        return self.traits.moves_by is MovesBy.SOLVER and self._call is not None and self._call.point.call > 0

    def _moving_solver(self, make: Function) -> Function:
        """UniPC's solver, whose every update calls the model on an x that it then makes anew."""

        def made(*args: Any, **kwargs: Any) -> Any:
            solver = make(*args, **kwargs)
            Replacement(solver, "multistep_uni_pc_update", self._moving_update)  # gone with the solver
            return solver

        return made

    def _moving_update(self, update: Function) -> Function:
        def multistep_uni_pc_update(x: Tensor, earlier: list[Tensor], *args: Any, **kwargs: Any) -> Any:
            self._call = None
            found, denoised = update(x, earlier, *args, **kwargs)
            call, self._call = self._call, None
            if call is not None and call.has_moved:
                call.move_solver(found, denoised, earlier)
            return found, denoised

        return multistep_uni_pc_update

    # -- the host's callbacks -----------------------------------------------------------------------------------

    def _denoiser_called(self, params: Any) -> None:
        if params.denoiser is self.sampler.model_wrap_cfg:
            self._showing.close()
            _guarded(self._before, params)

    def _denoised(self, params: Any) -> None:
        if self._call is not None and self._x is not None:
            _guarded(self._after, params)

    def _before(self, params: Any) -> None:
        if LoadedCheckpoint.now() != self._model:
            self._follow_model()
        if self._run is None:
            return
        composition = self._run.composition
        images = len(composition.masks)
        if self._x is None or params.x.shape[0] != 2 * images:
            raise HostError(neighbours.blamed("changes the batch or the sampler"))
        call = DenoiserCall(params, self._x, self._run.conditions, self.traits, self.steps)
        composition.weigh(self.strengths.now())
        if self._at_first is not None:
            at_first, self._at_first = self._at_first, None
            at_first(composition, call)
        move = composition.before(call.point, call.latent, call)
        step = composition.open_step()
        call.join(move, step)
        self._call = call
        if call.has_moved:
            self._move(call)
        self._answering.enter_context(call.answering(step, composition.tools.memory.plain_rows))

    def _move(self, call: DenoiserCall) -> None:
        if not self._moves_later():
            call.move_sampler()
        for prediction in self._returned:
            prediction.add_(call.correction)

    def _after(self, params: Any) -> None:
        call, run = self._call, self._run
        self._answering.close()
        if call is None or run is None:
            return
        composition = run.composition
        step, seen = composition.open_step(), composition.context.rows_seen
        rows = step.rows
        if seen not in (len(rows), len(rows) - call.images):
            raise HostError(neighbours.blamed(f"changes the batch: the UNet saw {seen} of {len(rows)} rows"))
        found = dict(zip(step.plan.rows, params.x, strict=False))
        fused = composition.after({row: found[row] for row in rows[:seen]})
        params.x[: call.images] = fused.cond + call.correction
        params.x[-call.images :] = fused.uncond + call.correction

    # -- another model in the middle of a run -------------------------------------------------------------------

    def _follow_model(self) -> None:
        """The host has loaded a refiner: go on with it if it is of the same kind, else leave it alone."""
        before, self._model = self._model, LoadedCheckpoint.now()
        run, self._run = self._run, None
        self._opened.close()
        self._returned.clear()
        if run is None:
            return
        if self._model.family != before.family:
            self.notes.append(self._model.draws_alone)
            return
        try:
            self._open(run.composition.found_masks)
        except CLoRAError as error:
            self.notes.append(f"{self._model.draws_alone}: {error.message}")


def _told(error: Exception) -> Exception:
    """What a user is told of an error."""
    if isinstance(error, BatchError):
        return HostError(neighbours.blamed("cuts up the batch of rows that CLoRA draws with"), field="alwayson_scripts")
    return error


def _guarded(action: Callable[[Any], None], params: Any) -> None:
    try:
        action(params)
    except Exception as error:  # the host logs and drops what a callback raises, and would draw on without us
        raise OurFailure(error) from error
