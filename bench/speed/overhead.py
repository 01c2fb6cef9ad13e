"""What composing costs beside the UNet: set-up before the first UNet call, and Python in every step."""

import cProfile
import pstats
import time
from pathlib import Path
from typing import Any

import torch

from clora_ext.hosts.diffusers.checkpoint import Model, load
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.settings.profiles import build_settings
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS

PROMPT = "a vako cat <lora:tuxcat:1> and a pleko dog <lora:browndog:1> in the grass"
STEPS = 10
TOP = 10


def setup() -> dict[str, float]:
    """The process's seconds from a request to the first UNet call: first and second picture, merged and composed."""
    model = load(CHECKPOINT, CONFIG, TOKENIZER)
    found: dict[str, float] = {}
    for method in ("merge", "clora"):
        library = Library(WEIGHTS / "lora")
        for name in ("first", "second"):
            found[f"{method}_{name}_seconds"] = round(_until_first_call(model, library, method), 4)
    return found


class _Called(BaseException):
    pass


def _until_first_call(model: Model, library: Library, method: str) -> float:
    def stop(*_: Any) -> None:
        raise _Called

    handle = model.unet.register_forward_pre_hook(stop)
    since = time.process_time()
    try:
        generate(model, library, Picture(PROMPT, steps=STEPS), build_settings(method=method))
    except _Called:
        return time.process_time() - since
    finally:
        handle.remove()
    msg = "the UNet was never called"
    raise RuntimeError(msg)


def overhead(profile: str = "balanced") -> dict[str, Any]:
    """A profile of one composed picture of the tiny world: our own Python in a step, and its ten slowest functions.

    Own time includes what torch's operations called from there took, and the profiler's own cost.
    """
    model, library = load(CHECKPOINT, CONFIG, TOKENIZER), Library(WEIGHTS / "lora")
    torch.set_num_threads(1)
    picture = Picture(PROMPT, steps=STEPS)
    generate(model, library, picture, build_settings(profile))
    profiler = cProfile.Profile(time.process_time)
    result = profiler.runcall(generate, model, library, picture, build_settings(profile))
    steps = len(result.report.steps)
    rows = [
        {"function": f"{Path(file).stem}.{name}", "calls": count, "ms_per_step": round(own / steps * 1e3, 3)}
        for (file, _, name), (_, count, own, _, _) in pstats.Stats(profiler).stats.items()
        if "clora_ext" in file
    ]
    rows.sort(key=lambda row: -row["ms_per_step"])
    whole = sum(step.seconds for step in result.report.steps) / steps
    return {
        "profile": profile,
        "step_ms": round(whole * 1e3, 2),
        "own_ms_per_step": round(sum(row["ms_per_step"] for row in rows), 2),
        "top": rows[:TOP],
    }
