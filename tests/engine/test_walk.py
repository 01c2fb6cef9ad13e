"""The latent's walk through one step: calls go down from room to room, and back up only through the port."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import clora_ext
from clora_ext.core.schedule import SamplingPoint
from clora_ext.settings.profiles import build_settings
from tests.engine.setup import random_loras, running, setup
from tests.toy import ToyHost

HOME = Path(clora_ext.__file__).parent
FLOORS = {"core": 0, "batch": 1, "lora": 2, "attention": 2, "settings": 3, "engine": 4, "host": 5}
"""A room may call rooms on its own floor and below."""
PORT = {"conditions", "predict", "check_interrupt", "show_progress", "free_bytes", "at", "deltas", "encode"}
"""What the engine asks of its host."""


def room_of(frame: FrameType) -> str | None:
    """The room whose code a frame runs; the test's own host is a room, torch and the UNet's layers are none."""
    path = Path(frame.f_code.co_filename)
    if path.name == "toy.py":
        return "host" if type(frame.f_locals.get("self")).__name__ in ("ToyHost", "ToyDenoiser", "ToyTexts") else None
    return path.relative_to(HOME).parts[0] if HOME in path.parents else None


def caller_of(frame: FrameType) -> str | None:
    """The room that called, through torch and others."""
    before = frame.f_back
    while before is not None:
        room = room_of(before)
        if room is not None:
            return room
        before = before.f_back
    return None


def is_closure(frame: FrameType) -> bool:
    """Whether the frame is a function that a room has given away to be called: a hook, a guarded action."""
    return "<locals>" in frame.f_code.co_qualname


@pytest.mark.skipif(sys.version_info < (3, 11), reason="code objects have no qualified names")
@pytest.mark.parametrize("profile", ["balanced", "fast", "authors"])
def test_no_way_back_but_the_ports(profile: str):
    ways_up: set[tuple[str, str, str]] = set()
    visited: set[str] = set()

    def watch(frame: FrameType, event: str, _: Any) -> None:
        room = room_of(frame) if event == "call" else None
        caller = None if room is None else caller_of(frame)
        if room not in FLOORS or caller not in FLOORS:
            return
        visited.add(room)
        if FLOORS[room] > FLOORS[caller] and not is_closure(frame):
            ways_up.add((caller, room, frame.f_code.co_name))

    unet, conditions, latent = setup(2, (16, 16))
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    with running(host, build_settings(profile, lock_steady=0.0), 2) as (composition, denoiser), torch.no_grad():
        sys.setprofile(watch)
        try:
            for index in range(6):
                move = composition.before(SamplingPoint(index, 6, 1 - index / 6), latent, denoiser)
                latent = move.latent - 0.05 * composition.after(composition.predict(move.predict_from)).cond
        finally:
            sys.setprofile(None)
    assert visited >= {"core", "batch", "lora", "attention", "engine", "host"}
    assert {name for _, _, name in ways_up} <= PORT
    assert {room for _, room, _ in ways_up} == {"host"}
    if profile != "authors":
        assert composition.masks[0].locked, "a routed row was drawn as well"
