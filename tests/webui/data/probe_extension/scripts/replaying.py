"""For tests only: captures that the CPU can do, and what a replay is told of the host.

- `POST /probe/replay {"fake": true}`: from now on calls are captured by keeping them; false: as ever. Answers with the
  replays that there were since this was asked last.
- `GET /probe/replay`: what `WebUIGuard` says of each thing that may be in the way, by name.
- `POST /probe/hook {"on": true}`: a hook of this extension on a layer of the UNet, or no more.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from fastapi import Body, FastAPI
from modules import devices, script_callbacks, sd_unet, shared


class Kept:
    """A call that is made again into the same tensor."""

    def __init__(self, call: Callable[[], torch.Tensor]) -> None:
        self.call, self.output = call, call()

    def replay(self) -> None:
        """Counted."""
        Fake.replays += 1
        self.output.copy_(self.call())

    def free(self) -> None:
        """The tensor goes."""
        self.output = None


class Fake:
    """Meets `GraphBackend`."""

    replays = 0

    def warm(self, call: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Just called."""
        return call()

    def capture(self, call: Callable[[], torch.Tensor]) -> Kept:
        """Kept."""
        return Kept(call)

    def free(self) -> None:
        """Nothing is held."""


def in_the_way() -> dict[str, str | None]:
    """What the guard says."""
    from clora_ext.hosts.webui.drive.replaying import WebUIGuard

    guard = WebUIGuard()
    ways = {
        "hypernetwork": mock.patch.object(shared, "loaded_hypernetworks", [object()]),
        "lowvram": mock.patch.object(shared.sd_model, "lowvram", True),
        "fp8": mock.patch.object(devices, "fp8", True),
        "unet": mock.patch.object(sd_unet, "current_unet", object()),
        "tomesd": mock.patch.object(shared.sd_model, "applied_token_merged_ratio", 0.5, create=True),
    }
    found = {"nothing": guard.obstacle()}
    for name, way in ways.items():
        with way:
            found[name] = guard.obstacle()
    return found


def put_hook(held: ExitStack) -> None:
    """On the middle of the UNet."""
    layer = shared.sd_model.model.diffusion_model.middle_block
    held.callback(layer.register_forward_hook(lambda *_: None).remove)


def add_routes(_demo: Any, app: FastAPI) -> None:
    """Register the routes."""
    held, hooks = ExitStack(), ExitStack()

    @app.post("/probe/replay")
    def capture(fake: bool = Body(embed=True)) -> int:
        from clora_ext.engine import replay

        held.close()
        if fake:
            held.enter_context(mock.patch.object(replay, "graphs_on", return_value=Fake()))
        found, Fake.replays = Fake.replays, 0
        return found

    @app.get("/probe/replay")
    def told() -> dict[str, str | None]:
        return in_the_way()

    @app.post("/probe/hook")
    def hook(on: bool = Body(embed=True)) -> None:
        hooks.close()
        if on:
            put_hook(hooks)


script_callbacks.on_app_started(add_routes)
