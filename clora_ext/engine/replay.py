"""Late steps without Python: a routed call of the UNet, captured once and replayed on other numbers.

Once masks are locked and nothing is looked for, every step calls the same on the same shapes, and where the device is
faster than Python it waits for the calling. A replay makes them by itself. It skips all else that somebody may have
put into the UNet's layers, and reads from addresses that must not move; so it is done where all of that is known:

```
a late step     what is done                                    what it gives
first           call on fixed tensors (warm), then capture      the call's
second          replay, and call on the same                    the call's; the two are compared
any other       replay                                          the replay's
```

Whatever is unknown, differs or fails ends it for the run, with a note; steps are then what they are without it.
"""

import logging
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from clora_ext.batch.conditions import StepConditions
from clora_ext.batch.context import CalledRows, ForwardContext
from clora_ext.engine.cuda_graphs import CapturedCall, GraphBackend, graphs_on
from clora_ext.engine.fixed import FixedTexts, FixedTree, Tree, UnfitError, leaves, mapped
from clora_ext.engine.inside import InsideUNet
from clora_ext.engine.memory import Memory
from clora_ext.patching import Function, replaced

LEAST_STEPS = 5
"""Steps that must be left: capturing and comparing take the time of about two."""
ROUNDINGS = 16.0
"""By how many roundings of the largest number a replay may differ: kernels may be chosen anew."""
_log = logging.getLogger(__name__)


@runtime_checkable
class ReplayGuard(Protocol):
    """What a host knows of its UNet that a replay would skip."""

    def obstacle(self) -> str | None:
        """What goes on inside of the UNet that no replay does: half a sentence; None where nothing does."""
        ...

    def stranger(self, function: Function) -> str | None:
        """Whose ``function`` is, which runs in a call of the UNet; None where it is known and does the same always."""
        ...

    def state(self) -> Hashable:
        """What layers read that is no tensor: a replay goes on with what it was."""
        ...


@dataclass(frozen=True)
class _Around:
    """What has to stay as it was when the call was captured."""

    called: CalledRows
    masks: int
    layers: Hashable
    host: Hashable
    casts: bool


@dataclass(frozen=True)
class _Kept:
    """A captured call with its inputs."""

    around: _Around
    arguments: FixedTree
    texts: FixedTexts
    call: CapturedCall


class Replay:
    """Replays the late calls of ``unet`` for the rows of ``context``, while it is ``on``."""

    def __init__(self, unet: nn.Module, context: ForwardContext, memory: Memory, guard: ReplayGuard) -> None:
        self._unet, self._context, self._memory, self._guard = unet, context, memory, guard
        self._backend: GraphBackend | None = None
        self._kept: _Kept | None = None
        self._compared = False
        self._over = False
        self._replayed = False
        self._notes: list[str] = []

    def take(self) -> tuple[bool, tuple[str, ...]]:
        """Whether a call was replayed since this was asked last, and what there is to tell."""
        found = self._replayed, tuple(self._notes)
        self._replayed, self._notes = False, []
        return found

    @contextmanager
    def on(self) -> Generator[None, None, None]:
        """While inside, late calls are replayed; what that took is given back, whatever happens."""
        try:
            with replaced(self._unet, "forward", self._watching):
                yield
        finally:
            self._free()

    def _watching(self, original: Function) -> Function:
        inside = InsideUNet(self._unet, original)

        def forward(*args: Any, **kwargs: Any) -> Tree:
            if self._over or not self._context.forward.late_steps or torch.is_grad_enabled():
                return original(*args, **kwargs)
            given = {"args": args, "kwargs": kwargs}
            try:
                found = self._late(original, given, inside)
            except UnfitError as error:
                self._give_up(str(error))
            except torch.cuda.OutOfMemoryError:
                self._give_up("memory ran out")
            else:
                return found
            return original(*args, **kwargs)

        return forward

    def _late(self, original: Function, given: Tree, inside: InsideUNet) -> Tree:
        """A late call. Raises ``UnfitError`` where it can not be replayed."""
        called, texts = self._whole_call()
        obstacle = self._guard.obstacle()
        if obstacle is not None:
            raise UnfitError(obstacle)
        regions = called.regions
        if regions is None:
            raise RuntimeError("a routed row is drawn before there are masks")
        around = _Around(called, regions.version, inside.marks(), self._guard.state(), torch.is_autocast_enabled())
        if self._kept is None:
            if self._context.forward.late_steps < LEAST_STEPS:
                return _call(original, given)
            return self._capture(original, given, inside, around, texts)
        _require_same(self._kept.around, around)
        self._kept.arguments.fill(given)
        self._kept.texts.fill(texts)
        self._kept.call.replay()
        if not self._compared:
            return self._compare(self._kept.call.output, _call(original, given))
        self._replayed = True
        return mapped(self._kept.call.output, torch.clone)

    def _whole_call(self) -> tuple[CalledRows, StepConditions]:
        """The rows of the call, which must be all of the step's, and the texts of its branches."""
        forward, called = self._context.forward, self._context.called
        if called is None or called.rows != forward.rows:
            raise UnfitError("the rows of a step are drawn by several calls of the UNet")
        if forward.conditions is None:
            raise RuntimeError("a routed row is drawn without its branches' texts")
        return called, forward.conditions

    def _capture(
        self, original: Function, given: Tree, inside: InsideUNet, around: _Around, now: StepConditions
    ) -> Tree:
        for function in inside.functions():
            name = self._guard.stranger(function)
            if name is not None:
                raise UnfitError(f"{name} has a hand in the UNet's layers")
        if not self._memory.holds(2 * len(around.called.rows)):
            raise UnfitError("that takes as much memory again as a step, and so much may not be taken")
        self._backend = backend = graphs_on(next(leaves(given)).device)
        arguments, texts = FixedTree(given), FixedTexts(now)
        forward = replace(self._context.forward, conditions=texts)

        def call() -> Tree:
            with self._context.replaying(forward, forward.rows):
                return _call(original, arguments.shown())

        found = backend.warm(call)
        self._kept = _Kept(around, arguments, texts, backend.capture(call))
        return found

    def _compare(self, replayed: Tree, called: Tree) -> Tree:
        """What was ``called``; where the replay is another, it is the last one."""
        self._compared = True
        if not _alike(replayed, called):
            self._give_up("a replay came out differently")
        return called

    def _give_up(self, why: str) -> None:
        self._over = True
        self._notes.append(f"late steps are not replayed: {why}")
        _log.warning("CLoRA: late steps are not replayed: %s", why)
        self._free()

    def _free(self) -> None:
        """Let go of all that holds memory of a captured call."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.call.free()
        del kept
        if self._backend is not None:
            self._context.forget()  # hooks have kept tensors that were made while capturing
            self._backend.free()
            self._backend = None


def _call(original: Function, given: Tree) -> Tree:
    return original(*given["args"], **given["kwargs"])


def _require_same(before: _Around, now: _Around) -> None:
    """Raise ``UnfitError`` where a replay would go on with what is no more."""
    if now.called is not before.called or now.masks != before.masks:
        raise UnfitError("masks, or the strength of a LoRA, have changed")
    if now.layers != before.layers:
        raise UnfitError("hooks or weights of the UNet have changed")
    if now.host != before.host or now.casts != before.casts:
        raise UnfitError("what the UNet's layers do has changed")


def _alike(replayed: Tree, called: Tree) -> bool:
    """Whether two results differ by rounding alone; one wait for the device."""
    pairs = list(zip(leaves(replayed), leaves(called), strict=True))
    return all(_near(one, other) for one, other in pairs)


def _near(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    far = (one.double() - other.double()).abs().max()
    bound = ROUNDINGS * torch.finfo(other.dtype).eps * other.double().abs().max()
    return bool(far <= bound)
