"""For tests only: faults at any call of any function of ours, in the next job.

- `POST /probe/faults/watch`: of the next job, which functions of ours are called, and how often.
- `GET /probe/faults/watch`: the names and counts.
- `POST /probe/faults/arm {"name": "clora_ext/core/loss.py:info_nce", "call": 1, "kind": "error"}`: at that call,
  from 1, the next job has an error (`error`), too little memory (`memory`), or is interrupted or skipped.
- `GET /probe/faults/arm`: whether what was armed has happened; nothing is armed any more.

A profile function sees every call, however the function was imported, and what it raises is raised in that call.
"""

import inspect
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from fastapi import Body, FastAPI
from modules import script_callbacks, scripts, shared

MESSAGE = "broken on purpose"


class BrokenOnPurposeError(Exception):
    """No error that anybody else raises, so that nobody can take it for one that he knows."""


KINDS = {"error": BrokenOnPurposeError, "memory": torch.cuda.OutOfMemoryError}
ACTS = ("interrupt", "skip")
"""Methods of the host's state."""
seen: Counter[str] = Counter()
wanted: dict[str, Any] = {}
"""What the next job is to be watched for or broken by; empty for nothing."""


def name_of(frame: FrameType) -> str | None:
    """The file and name of a function of ours; None for others."""
    import clora_ext

    file, folder = frame.f_code.co_filename, str(Path(clora_ext.__file__).parent)
    return f"clora_ext{file[len(folder) :]}:{frame.f_code.co_name}" if file.startswith(folder) else None


def profile(frame: FrameType, event: str, _argument: Any) -> None:
    """Count a call of ours, and break the one that is wanted.

    A generator that goes on is not called: what is raised there ends its frame without its ``finally``, as no error of
    the code itself can.
    """
    if event != "call" or not wanted or frame.f_lasti >= 0:
        return
    name = name_of(frame)
    if name is None:
        return
    seen[name] += 1
    if name == wanted.get("name") and seen[name] == wanted["call"]:
        kind = wanted["kind"]
        wanted.clear()
        sys.setprofile(None)
        if kind in ACTS:
            getattr(shared.state, kind)()
        else:
            forget_locals(frame.f_back)
            raise KINDS[kind](MESSAGE)


def forget_locals(frame: FrameType | None) -> None:
    """Drop the copies of local variables that a profile function leaves in every frame: nothing else would."""
    while frame is not None:
        if frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            frame.f_locals.clear()
        frame = frame.f_back


class Faults(scripts.Script):
    """Looks at the thread of a job from its beginning."""

    def title(self) -> str:
        return "Probe: faults"

    def show(self, is_img2img: bool) -> object:
        return scripts.AlwaysVisible

    def before_process(self, p: Any, *_: Any) -> None:
        """Before any script's `process`."""
        seen.clear()
        sys.setprofile(profile if wanted else None)


def add_routes(_demo: Any, app: FastAPI) -> None:
    """Register the routes."""

    @app.post("/probe/faults/watch")
    def watch() -> None:
        wanted.update(name=None, call=0, kind="")

    @app.get("/probe/faults/watch")
    def told() -> dict[str, int]:
        wanted.clear()
        return dict(seen)

    @app.post("/probe/faults/arm")
    def arm(name: str = Body(), call: int = Body(), kind: str = Body()) -> None:
        wanted.update(name=name, call=call, kind=kind)

    @app.get("/probe/faults/arm")
    def happened() -> bool:
        left = bool(wanted)
        wanted.clear()
        return not left


script_callbacks.on_app_started(add_routes)
