"""One sampling run inside the host's CFG denoiser: the engine's two halves around the host's own forward."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

from modules import script_callbacks
from torch import Tensor

from clora_ext.engine.run import Run
from clora_ext.errors import HostError
from clora_ext.hosts.webui.drive.call import DenoiserCall
from clora_ext.hosts.webui.drive.conditions import Schedules
from clora_ext.hosts.webui.drive.samplers import SamplerTraits
from clora_ext.patching import Function, replaced


class OurFailure(BaseException):
    """Carries an error of ours out of the host's callbacks, which swallow every ``Exception``."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class DenoiserHook:
    """A run bound to the host: be ``running`` around the host's sampling and ``attach`` its denoiser."""

    def __init__(self, run: Run[Schedules], traits: SamplerTraits, steps: int) -> None:
        self.run = run
        self.traits = traits
        self.steps = steps
        self._denoiser: Any = None
        self._x: Tensor | None = None
        self._call: DenoiserCall | None = None
        self._attached = ExitStack()
        self._answering = ExitStack()

    @contextmanager
    def running(self) -> Generator[None, None, None]:
        """Callbacks and the denoiser's wrapper are in place inside, and gone after, whatever happened."""
        with ExitStack() as stack:
            for register, callback in (
                (script_callbacks.on_cfg_denoiser, self._denoiser_called),
                (script_callbacks.on_cfg_denoised, self._denoised),
            ):
                register(callback, name="clora")
                stack.callback(script_callbacks.remove_callbacks_for_function, callback)
            stack.callback(self._attached.close)
            try:
                yield
            except OurFailure as failure:
                raise failure.error from failure.error.__cause__

    def attach(self, denoiser: Any) -> None:
        """Watch ``denoiser``: its ``forward`` tells us the sampler's own latent, the one that an update must change.

        A denoiser that was watched before is let go.
        """
        self._attached.close()
        self._attached.enter_context(replaced(denoiser, "forward", self._watch))
        self._attached.callback(self._forget_denoiser)
        self._denoiser = denoiser

    def _forget_denoiser(self) -> None:
        self._denoiser = None

    def _watch(self, original: Function) -> Function:
        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            self._x = x
            try:
                return original(x, *args, **kwargs)
            finally:
                self._answering.close()
                self._x = self._call = None
                self.run.composition.abandon()

        return forward

    # -- the host's callbacks -----------------------------------------------------------------------------------

    def _denoiser_called(self, params: Any) -> None:
        if self._denoiser is None or params.denoiser is self._denoiser:
            _guarded(self._before, params)

    def _denoised(self, params: Any) -> None:
        if self._call is not None:
            _guarded(self._after, params)

    def _before(self, params: Any) -> None:
        composition = self.run.composition
        images = len(composition.masks)
        if self._denoiser is None or self._x is None or params.x.shape[0] != 2 * images:
            msg = "Another extension changes the batch or the sampler; turn it off to compose with CLoRA."
            raise HostError(msg)
        call = DenoiserCall(params, self._x, self.run.conditions, self.traits, self.steps)
        move = composition.before(call.point, call.latent, call)
        step = composition.open_step()
        call.join(move, step)
        self._call = call
        self._answering.enter_context(call.answering(step, composition.tools.memory.plain_rows))

    def _after(self, params: Any) -> None:
        call, composition = self._call, self.run.composition
        self._answering.close()
        self._call = None
        if call is None:
            return
        step, seen = composition.open_step(), composition.context.rows_seen
        rows = step.rows
        if seen not in (len(rows), len(rows) - call.images):
            msg = f"The UNet saw {seen} of {len(rows)} rows; another extension changes the batch, turn it off."
            raise HostError(msg)
        found = dict(zip(step.plan.rows, params.x, strict=False))
        fused = composition.after({row: found[row] for row in rows[:seen]})
        params.x[: call.images] = fused.cond + call.correction
        params.x[-call.images :] = fused.uncond + call.correction


def _guarded(action: Callable[[Any], None], params: Any) -> None:
    try:
        action(params)
    except Exception as error:  # the host logs and drops what a callback raises, and would draw on without us
        raise OurFailure(error) from error
