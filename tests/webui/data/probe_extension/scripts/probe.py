"""For tests only: count what is left behind in the running WebUI, and make its next job fail or stop at a chosen call.

- `GET /probe/state`: what must be the same before and after any job.
- `GET /probe/tensors`: how many tensors are alive.
- `POST /probe/trim`: hand back to the system what the allocator of C keeps of freed memory, on Linux.
- `POST /probe/unet {"call": 2, "act": "raise" | "interrupt" | "skip"}`: do it when the UNet is called for the 2nd time.
- `POST /probe/function {"name": "clora_ext.core.loss.info_nce", "call": 1}`: that function raises at its 1st call.
- `POST /probe/constant {"move_at": 2, "far": 0.1}`: in the next job the model's prediction is the same whatever it is
  given, and updates leave the latent alone, but for the one with that number from 0, which moves it by `far`.
- `GET /probe/latent`: mean and standard deviation of the latent that this job ended with.

What is asked for happens once and then undoes itself.
"""

import ctypes
import gc
import importlib
import sys
from collections.abc import Callable
from typing import Any

import torch
from fastapi import Body, FastAPI
from modules import script_callbacks, scripts, shared

MESSAGE = "broken on purpose"
CALLBACKS = ("cfg_denoiser", "cfg_denoised", "cfg_after_cfg")


def count_state() -> dict[str, Any]:
    """Hooks in the model, callbacks of the denoiser, parameters that ask for gradients, LoRAs that are worn."""
    import networks

    modules = list(shared.sd_model.modules())
    unet = shared.sd_model.model.diffusion_model
    return {
        "forward_hooks": sum(len(module._forward_hooks) for module in modules),
        "forward_pre_hooks": sum(len(module._forward_pre_hooks) for module in modules),
        "backward_hooks": sum(len(module._backward_hooks) + len(module._backward_pre_hooks) for module in modules),
        "own_forwards": sum("forward" in vars(module) for module in modules),
        "callbacks": {name: len(script_callbacks.callback_map[f"callbacks_{name}"]) for name in CALLBACKS},
        "trainable": sum(parameter.requires_grad for parameter in unet.parameters()),
        "gradients": sum(parameter.grad is not None for parameter in unet.parameters()),
        "worn": [network.name for network in networks.loaded_networks],
    }


def count_tensors() -> int:
    """Those that somebody holds, garbage left out."""
    for _ in range(10):
        if not gc.collect():  # what a generator holds goes only in the round after the one that closes it
            break
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


def act_on_unet(call: int, act: str) -> None:
    """At the UNet's `call`-th call from now (1 is the next) raise, interrupt or skip."""
    left = call

    def watch(_module: Any, _args: Any) -> None:
        nonlocal left
        left -= 1
        if left > 0:
            return
        handle.remove()
        if act == "raise":
            raise RuntimeError(MESSAGE)
        {"interrupt": shared.state.interrupt, "skip": shared.state.skip}[act]()

    handle = shared.sd_model.model.diffusion_model.register_forward_pre_hook(watch)


def break_function(name: str, call: int) -> None:
    """Make the function `package.module.function` raise at its `call`-th call from now, and only then."""
    module_name, _, function_name = name.rpartition(".")
    module = importlib.import_module(module_name)
    original: Callable[..., Any] = getattr(module, function_name)
    left = call

    def broken(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left > 0:
            return original(*args, **kwargs)
        setattr(module, function_name, original)
        raise RuntimeError(MESSAGE)

    setattr(module, function_name, broken)


LATENT: dict[str, float] = {}


class ConstantModel(scripts.Script):
    """Makes the next job's model and updates constant, and keeps the latent that the job ends with."""

    undo: Callable[[], None] | None = None

    def title(self) -> str:
        return "probe: constant model"

    def show(self, is_img2img: bool) -> object:
        return scripts.AlwaysVisible

    def post_sample(self, p: Any, ps: Any, *_: Any) -> None:
        if ConstantModel.undo is not None:
            ConstantModel.undo()
            ConstantModel.undo = None
            LATENT.update(mean=float(ps.samples.mean()), std=float(ps.samples.std()))


def make_constant(move_at: int, far: float) -> None:
    """Until the next job is over: noise that is the same everywhere, and updates that are known."""
    from clora_ext.core import guidance

    model, own, update = shared.sd_model, shared.sd_model.apply_model, guidance.move_latent
    done = 0

    def apply_model(x: Any, *args: Any, **kwargs: Any) -> Any:
        return 0.3 + 0.0 * own(x, *args, **kwargs)

    def move_latent(latent: Any, *_: Any, **__: Any) -> Any:
        nonlocal done
        done += 1
        return latent + (far if done == move_at + 1 else 0.0)

    def undo() -> None:
        guidance.move_latent = update
        del model.apply_model

    model.apply_model, guidance.move_latent = apply_model, move_latent
    ConstantModel.undo = undo


def add_routes(_demo: Any, app: FastAPI) -> None:
    """Register the routes."""

    @app.get("/probe/state")
    def state() -> dict[str, Any]:
        return count_state()

    @app.get("/probe/tensors")
    def tensors() -> int:
        return count_tensors()

    @app.post("/probe/trim")
    def trim() -> None:
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)

    @app.post("/probe/unet")
    def unet(call: int = Body(), act: str = Body()) -> None:
        act_on_unet(call, act)

    @app.post("/probe/function")
    def function(name: str = Body(), call: int = Body()) -> None:
        break_function(name, call)

    @app.post("/probe/constant")
    def constant(move_at: int = Body(), far: float = Body()) -> None:
        make_constant(move_at, far)

    @app.get("/probe/latent")
    def latent() -> dict[str, float]:
        return LATENT


script_callbacks.on_app_started(add_routes)
