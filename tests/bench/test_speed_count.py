"""The speed benchmark counts: one row pinned, and what is counted without computing equals what is computed."""

import json
from dataclasses import asdict

import pytest
import torch

pytest.importorskip("diffusers", reason="the benchmark runs with the tools' Python")

from bench.speed import count as counting
from bench.speed.cases import LITTLE, Case, Results, effective, order, ways
from bench.speed.meter import Meter, meta_as_gpu
from bench.speed.models import MODELS, loras, unet
from bench.speed.stage import compose
from clora_ext.settings.profiles import build_settings
from tests.bench.small import SMALL


@pytest.mark.parametrize(("model", "gflop"), [("sd15", 803), ("sdxl", 6761)])
def test_one_plain_row(model, gflop):
    shape = MODELS[model]
    network = unet(shape.config, "meta", torch.float16)
    with meta_as_gpu(), Meter("meta", network.parameters()) as meter:
        visits = compose(network, shape.pixels, build_settings(method="merge"), {}, 1, mark=lambda _: None)
    assert visits[0].rows == 2
    assert meter.flops / 2e9 == pytest.approx(gflop, rel=0.01)


@pytest.mark.parametrize("profile", ["authors", "balanced"])
def test_counted_flops_are_those_computed(profile):
    """The same steps on the CPU, whose fused attention has its own name and formula."""
    found = {}
    for device in ("meta", "cpu"):
        network = unet(SMALL.config, device, torch.float32)
        with meta_as_gpu(), Meter(device, network.parameters()) as meter:
            compose(network, 128, build_settings(profile), loras(network, 2, 4), 20, (0, 1))
        found[device] = meter.flops
    assert found["cpu"] == pytest.approx(found["meta"], rel=0.02)


def test_a_loras_share_of_a_row():
    network = unet(MODELS["sd15"].config, "meta", torch.float16)
    totals = []
    for rank in (0, 16, 128):
        deltas = {"L1": loras(network, 1, rank)["L1"] if rank else {}}
        with meta_as_gpu(), Meter("meta", network.parameters()) as meter:
            compose(network, 512, build_settings("authors", "composite"), deltas, 1)
        totals.append(meter.flops)
    assert totals[1] / totals[0] == pytest.approx(1.012, abs=0.001)
    assert totals[2] / totals[0] == pytest.approx(1.097, abs=0.002)


def test_what_is_freed_does_not_count():
    with Meter("meta") as meter:
        x = torch.zeros(1000, device="meta")
        for _ in range(5):
            x = x + 1
        assert meter.live == 4000
        assert meter.peak == 8000
        y = x.reshape(10, 100).t()
        assert meter.live == 4000
        del x, y
        assert meter.live == 0


def test_a_run_summed_by_kinds_equals_the_whole_run(monkeypatch):
    monkeypatch.setitem(MODELS, "small", SMALL)
    wanted = build_settings("paper", rounds=3, rounds_at="0", update_until=2)
    found = counting.count("small", wanted, 2, 4, steps=3)
    network = unet(SMALL.config, "meta", torch.float16)
    deltas = loras(network, 2, 4)
    with meta_as_gpu(), Meter("meta", counting.given(network, deltas)) as meter:
        visits = compose(network, 128, wanted, deltas, 3)
    assert found.rows == sum(visit.rows for visit in visits)
    assert found.flops == pytest.approx(meter.flops, rel=1e-6)
    assert found.peak == pytest.approx(meter.peak, rel=0.01)


def test_layers_that_run_again_take_less_memory_and_more_work(monkeypatch):
    """No row's graph fits in a hair's breadth: inner layers keep their inputs alone."""
    monkeypatch.setitem(MODELS, "small", SMALL)
    whole, less = (counting.count("small", build_settings("fast", memory=m), 2, 4, steps=4) for m in (0.0, 1e-6))
    assert less.peak < whole.peak
    assert less.flops > whole.flops


def test_one_lora_alone_is_a_plain_picture(monkeypatch):
    monkeypatch.setitem(MODELS, "small", SMALL)
    assert effective(build_settings("balanced"), 1).method == "merge"
    assert effective(build_settings("authors"), 1).method == "clora"
    assert counting.count("small", build_settings("balanced"), 1, 16, 2) == counting.plain("small", 2)


def test_the_main_figures_come_first_and_results_are_written_at_once(tmp_path):
    model, _, concepts, rank = next(order())
    assert (model, concepts, rank) == ("sd15", 2, 16)
    results = Results(tmp_path / "speed.json", {"device": "none"})
    case = Case("tiny", "paper", "clora", 2, 50, 128, 16, "meta", "float16", flops_ratio=4.5, rows=455)
    results.add(case)
    assert json.loads(results.path.read_text(encoding="utf-8"))["cases"] == [asdict(case)]


def test_the_low_memory_form_takes_less_and_costs_a_forward_more(monkeypatch):
    monkeypatch.setitem(MODELS, "small", SMALL)
    wanted = [build_settings("paper", memory=limit, rounds_at="", update_until=1) for limit in (0, 0.001)]
    whole, parts = (counting.count("small", one, 4, 4, steps=2) for one in wanted)
    assert counting.plain("small", 2).peak < parts.peak < whole.peak
    assert whole.flops < parts.flops < 1.4 * whole.flops


def test_every_way_is_counted_once_and_the_costly_profiles_with_a_limit_too():
    cases = [(wanted.profile, wanted.method, wanted.memory) for wanted in ways()]
    assert len(set(cases)) == len(cases)
    assert ("paper", "clora", 0.0) in cases
    assert ("paper", "clora", LITTLE) in cases
