"""Late steps replayed by the embedded host, by captures that a CPU can do."""

import torch

from clora_ext.engine import replay
from clora_ext.hosts.diffusers.checkpoint import Model, load
from clora_ext.hosts.diffusers.cli import main
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, Result, generate
from clora_ext.hosts.diffusers.replaying import EmbeddedGuard
from clora_ext.settings.profiles import build_settings
from tests.engine.fake_graphs import FakeGraphs
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS

TWO = Picture("a vako cat <lora:tuxcat:1> and a pleko dog <lora:browndog:1> in the grass", steps=8, width=64, height=64)


def _draw(model: Model, *, asked: bool) -> Result:
    wanted = build_settings("balanced", "masks", lock_at=20.0)
    return generate(model, Library(WEIGHTS / "lora"), TWO, wanted, replay=asked)


def test_a_replay_is_the_picture_and_takes_other_timesteps(monkeypatch):
    graphs = FakeGraphs()
    monkeypatch.setattr(replay, "graphs_on", graphs.open)
    model = load(CHECKPOINT, CONFIG, TOKENIZER)
    plain, replayed = _draw(model, asked=False), _draw(model, asked=True)
    assert plain.images[0].tobytes() == replayed.images[0].tobytes()
    assert replayed.report.notes == ()
    assert sum(step.replayed for step in replayed.report.steps) == graphs.replays - 1 > 2
    assert graphs.freed
    assert not any(step.replayed for step in plain.report.steps)


def test_code_of_other_packages_is_no_strangers_but_by_name():
    guard = EmbeddedGuard()
    assert guard.stranger(torch.nn.Linear.forward) is guard.stranger(generate) is guard.obstacle() is None
    assert guard.stranger(test_the_command_line_takes_it) == "tests"


def test_the_command_line_takes_it(tmp_path, monkeypatch):
    graphs = FakeGraphs()
    monkeypatch.setattr(replay, "graphs_on", graphs.open)
    words = [
        TWO.prompt,
        "--replay",
        "--steps",
        "8",
        "--size",
        "64x64",
        "--profile",
        "balanced",
        "--set",
        "lock_at=20",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    assert graphs.replays > 2
