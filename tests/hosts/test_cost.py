"""What the page tells of a job's cost before it is drawn."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from clora_ext.engine.prepare import assemble, bind_prompts
from clora_ext.hosts.webui.page import cost, pace
from clora_ext.hosts.webui.page.chosen import Sampling
from clora_ext.prompt import Binding, LoraFacts
from clora_ext.settings.profiles import build_settings

PROMPT = "a cat <lora:A:1> and a dog <lora:B:1>"
MODEL = "Stable Diffusion 1.x"


def _source(*, replays: bool) -> SimpleNamespace:
    """A host with half a UNet, of which nobody asks but its first layer."""
    unet = nn.Sequential(nn.Conv2d(4, 320, 3)).to(torch.float16)
    return SimpleNamespace(unet=lambda: unet, model_kind=lambda: MODEL, replays=lambda: replays)


def _cost(*, replays: bool = False, profile: str = "balanced", method: str = "masks", **chosen: object) -> cost.Cost:
    settings = build_settings(profile, method)
    bindings = [Binding("A", subject="cat"), Binding("B", subject="dog")]
    prepared = assemble([PROMPT], bind_prompts([PROMPT], bindings, LoraFacts), settings)
    return cost.cost_of(_source(replays=replays), prepared, Sampling(**chosen))


@pytest.fixture
def known(monkeypatch) -> pace.Pace:
    made = pace.Pace()
    monkeypatch.setattr(cost, "PACE", made)
    made.keep(pace.Load(MODEL, 512 * 512, 40.0, composed=False), 4.0)
    made.keep(pace.Load(MODEL, 512 * 512, _cost().estimate.work, composed=True), 6.0)
    return made


def test_seconds_are_those_of_the_last_pictures(known):
    told = _cost().in_words()
    assert told[:2] == ["about 1.5 × as long as without CLoRA", "some 6 s a picture"]


def test_of_hires_fix_the_first_pass_is_told_and_named(known):
    assert _cost(hires=True).in_words()[1] == "some 6 s a picture before hires. fix"


def test_memory_of_a_replay_is_in_the_forecast():
    """As much again as two rows take, where that is more than steps before the lock take."""
    without, with_replay = (_cost(replays=on, profile="fast").extra_memory for on in (False, True))
    assert without == 0
    assert with_replay == 2 * 35 * 320 * 64 * 64 * 2
    assert _cost(replays=True, profile="paper").extra_memory == _cost(profile="paper").extra_memory
