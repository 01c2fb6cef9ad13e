"""For tests only: count what is left behind in the running WebUI, and make its next job fail or stop at a chosen call.

- `GET /probe/state`: what must be the same before and after any job.
- `POST /probe/unet {"call": 2, "act": "raise" | "interrupt" | "skip"}`: do it when the UNet is called for the 2nd time.
- `POST /probe/function {"name": "clora_ext.core.loss.info_nce", "call": 1}`: that function raises at its 1st call.

What is asked for happens once and then undoes itself.
"""

import importlib
from collections.abc import Callable
from typing import Any

from fastapi import Body, FastAPI
from modules import script_callbacks, shared

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


def add_routes(_demo: Any, app: FastAPI) -> None:
    """Register the routes."""

    @app.get("/probe/state")
    def state() -> dict[str, Any]:
        return count_state()

    @app.post("/probe/unet")
    def unet(call: int = Body(), act: str = Body()) -> None:
        act_on_unet(call, act)

    @app.post("/probe/function")
    def function(name: str = Body(), call: int = Body()) -> None:
        break_function(name, call)


script_callbacks.on_app_started(add_routes)
