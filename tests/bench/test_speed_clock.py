"""Seconds and pages of the speed benchmark."""

import json
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace

import pytest

pytest.importorskip("diffusers", reason="the benchmark runs with the tools' Python")

from bench.speed import clock, count, growth, page
from bench.speed.__main__ import _taken
from bench.speed.cases import Case, Results
from bench.speed.models import MODELS
from clora_ext.settings.profiles import build_settings
from tests.bench.small import SMALL

CASE = Case("sd15", "paper", "clora", 2, 50, 512, 16, "meta", "float16", 4.5, 455, None, None, None, 3 << 30, 1 << 30)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(MODELS, "small", SMALL)


def test_a_composed_picture_takes_longer_than_a_plain_one():
    timer = clock.CpuClock("small", repeats=1)
    plain = timer.seconds(clock.PLAIN, 0, 0, 4)
    composed = timer.seconds(build_settings("authors"), 2, 4, 4)
    assert composed > 2.0 * plain > 0.0
    found = clock.timed(CASE, composed, plain)
    assert found.ratio == pytest.approx(composed / plain, rel=1e-3)


def test_every_method_can_be_timed():
    """Calls that are timed come between others that are not, for which nothing is computed."""
    timer = clock.CpuClock("small", repeats=1)
    for method in ("switch", "composite", "masks"):
        assert timer.seconds(build_settings(method=method), 2, 4, 20) > 0.0


def test_seconds_are_taken_in_a_process_beside():
    with closing(clock.Beside("tiny")) as beside:
        plain, composed = beside.seconds(clock.PLAIN, 0, 0, 4), beside.seconds(build_settings("authors"), 2, 4, 4)
        assert composed.result() > 1.5 * plain.result() > 0.0
        late = [beside.seconds(build_settings("paper"), 2, 4, 50) for _ in range(9)]
    assert late[-1].cancelled()


def test_seconds_are_put_to_their_cases_as_they_come(tmp_path):
    results = Results(tmp_path / "speed.json", {})
    wanted = build_settings("paper"), build_settings("fast"), build_settings("balanced")
    plain, first, second, late = (Future() for _ in range(4))
    asked = [(clock.PLAIN, 0, plain), (wanted[0], 2, first), (wanted[1], 2, second), (wanted[2], 2, late)]
    plain.set_result(2.0)
    first.set_result(9.0)
    second.set_result(3.0)
    assert list(_taken(results, asked, wait=False)) == []  # nothing is counted yet
    results.add(CASE)
    assert [case.ratio for case in _taken(results, asked, wait=False)] == [4.5]
    results.add(replace(CASE, profile="fast", memory=wanted[1].memory))
    results.add(replace(CASE, profile="balanced", memory=wanted[2].memory))
    assert [case.ratio for case in _taken(results, asked, wait=False)] == [1.5]
    late.set_result(4.0)
    assert [case.ratio for case in _taken(results, asked, wait=True)] == [2.0]
    assert [case.device for case in results.cases] == ["cpu"] * 3


def test_cost_grows_with_every_lora():
    found = [growth._point("small", build_settings("authors"), "k", k, k=k, steps=1) for k in (2, 4)]
    _, slope = growth.law(found, "k", "flops_ratio")["authors"]
    assert slope > 0.5  # a row or more for each
    ratios = [point["flops_ratio"] for point in found]
    assert ratios == sorted(ratios)


def test_the_page_shows_every_case(tmp_path):
    results = Results(tmp_path / "speed.json", {"device": "a card", "threads": 2, "torch": "2"})
    results.add(CASE)
    results.add(replace(CASE, profile="balanced", seconds=9.0, plain_seconds=4.5, ratio=2.0))
    results.growth = {
        "k": [{"profile": "paper", "k": k, "flops_ratio": k + 0.5, "peak_bytes": k << 30} for k in (2, 4)]
    }
    text = page.text({"cpu": json.loads(json.dumps(results.data()))})
    assert "| sd15 | paper | 2 | 16 | 4.50 x | 455 | +2.00 GiB |  |  |" in text
    assert "| 9.00 | 2.00 x |" in text
    assert "| paper | 0.50 + 1.00 K | 0.00 + 1.00 K GiB |" in text
    assert page.ON_A_GPU in text
    assert "4.50 x FLOPs" in page.line(CASE)


def test_a_case_names_what_was_counted():
    found = count.counted("small", build_settings("authors", "composite"), 2, 4, 2)
    assert (found.method, found.k, found.rows, found.dtype) == ("composite", 2, 8, "float16")
    assert found.flops_ratio > 2.0
