"""The prepared run on a GPU, tried at a tiny size on the CPU."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers", reason="the benchmark runs with the tools' Python")

from bench.speed import card, page
from bench.speed.__main__ import _parser
from bench.speed.card import Card, Load
from bench.speed.models import HOLLOW
from clora_ext.engine import replay
from tests.bench.small import SMALL
from tests.engine.fake_graphs import FakeGraphs

WHERE = {"device": "a card", "before": "driver 1", "torch": "2", "cuda": "12", "cudnn": 9, "commit": "0123456789abc"}


@pytest.fixture
def quick(monkeypatch) -> None:
    """One turn of single steps of the smallest UNet, by few kinds, and no tests of a GPU that is not there."""
    monkeypatch.setitem(HOLLOW, "sd15", SMALL)
    monkeypatch.setattr(card, "PROFILES", ("fast",))
    monkeypatch.setattr(card, "TURNS", 1)
    monkeypatch.setattr(card, "COUNTS", (2,))
    monkeypatch.setattr(card, "KINDS_TIMED", ("late routed", "masks"))
    monkeypatch.setattr(Card, "_tests", lambda self: {"summary": "none"})


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.usefixtures("quick")
def test_a_dry_run_writes_every_row_and_replays(tmp_path, monkeypatch):
    graphs: list[FakeGraphs] = []

    def open_graphs(device: torch.device) -> FakeGraphs:
        graphs.append(FakeGraphs())
        return graphs[-1]

    monkeypatch.setattr(replay, "graphs_on", open_graphs)
    Card("cpu", 600.0, tmp_path / "card.json", tiny=True).run([Load("sd15"), Load("sd15", 16)])
    told = _read(tmp_path / "card.json")
    steps = [row for row in told["rows"] if "picture" not in row["what"]]
    found = [(row["images"], row["what"], row["replayed"]) for row in steps]
    kinds = [("late routed", False), ("late routed", True), ("masks", False)]
    assert found == [(images, *kind) for images in (1, 2) for kind in kinds], "batches of a tiny run are of two"
    assert all(row["notes"] == [] for row in steps)
    assert all(row["ratio"] > 0.0 for row in told["rows"])
    assert len(told["rows"]) == len(steps) + 2, "pictures, called and replayed"
    assert sum(each.replays for each in graphs) > 4
    assert all(each.freed for each in graphs)
    assert (told["complete"], told["tests"]["summary"]) == (True, "none")
    assert told["machine"]["commit"]
    assert told["machine"]["torch"] == torch.__version__


@pytest.mark.usefixtures("quick")
def test_what_was_found_when_the_time_is_up_is_kept(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    made = Card("cpu", 100.0, tmp_path / "card.json", tiny=True)

    def row(*_: object, **__: object) -> card.Row:
        now[0] += 60.0
        return card.Row("sd15", 1, 2, "masks", False, (2.0, 9.0, 3.0), (1.0, 3.0, 1.0))

    monkeypatch.setattr(Card, "_row", row)
    made.run([Load("sd15"), Load("sdxl")])
    told = _read(tmp_path / "card.json")
    assert [row["ratio"] for row in told["rows"]] == [3.0, 3.0]
    assert not told["complete"]


def test_the_tests_of_the_gpu_run_in_a_process_of_their_own(tmp_path, monkeypatch):
    made, asked = Card("cpu", 600.0, tmp_path / "card.json", tiny=True), []

    def run(words: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        asked.append((words[-1], how["timeout"]))
        return subprocess.CompletedProcess(words, 0, "....\n4 passed in 3.0s\n")

    monkeypatch.setattr(subprocess, "run", run)
    found = made._tests()
    assert asked == [("tests/cuda", pytest.approx(180.0))]
    assert (found["summary"], found["status"]) == ("4 passed in 3.0s", 0)


def test_tests_that_take_too_long_are_ended_and_what_they_said_is_kept(tmp_path, monkeypatch):
    made = Card("cpu", 600.0, tmp_path / "card.json", tiny=True)

    def run(words: list[str], **how: Any) -> None:
        raise subprocess.TimeoutExpired(words, how["timeout"], output=b"..F")

    monkeypatch.setattr(subprocess, "run", run)
    assert made._tests() == {"summary": "not over within 180 s", "output": "..F"}


def test_waits_are_told_by_their_lines(monkeypatch):
    import warnings

    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def step() -> None:
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    found = card.waits(step, "cuda")
    assert list(found.values()) == [2]
    assert next(iter(found)).startswith("tests/bench/test_speed_card.py:")
    assert modes == ["warn", "default"]
    assert card.waits(step, "cpu") == {}


def test_the_page_shows_rows_and_waits():
    row = {"model": "sd15", "images": 1, "k": 2, "what": "late routed", "replayed": True, "ratio": 1.1, "notes": []}
    row |= {"seconds": [0.011], "plain_seconds": [0.010], "peak_bytes": 3 << 30, "plain_peak_bytes": 2 << 30}
    data = {"machine": WHERE, "rows": [row], "waits": {"sd15, masks": {"a.py:3": 2}}}
    text = card.table(data)
    assert "| sd15 | 1 | 2 | late routed | replayed | 11.00 | 10.00 | 1.10 x | +1.00 GiB |  |" in text
    assert "- sd15, masks: a.py:3 (2)" in text
    assert "11.00 ms  1.10 x plain" in card.line(row)
    empty = {"machine": {"device": "", "threads": 1, "torch": ""}, "cases": [], "growth": {}, "setup": {}}
    assert text in page.text({"cpu": empty, "gpu": data})


def test_tiny_is_a_size():
    assert _parser().parse_args(["--size", "tiny"]).size == "tiny"
    assert _parser().parse_args(["--size", "832x1216"]).size == (832, 1216)
