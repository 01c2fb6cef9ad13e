"""The search on made-up pictures whose truth is known, and the factors."""

import argparse
import json
import zlib
from collections.abc import Callable

import pytest

from bench.quality import methods, prompts, sweep
from bench.quality.factors import Factor, changed, known, of_row, padded
from bench.quality.jobs import Job
from bench.quality.methods import Method, table
from clora_ext.settings.knobs import KNOB

ASKED = prompts.read(prompts.TUNING)


class Drawn:
    """A runner whose pictures are right with a probability that the row's values decide."""

    def __init__(self, rate: Callable[[Method], float], most: int = 10**9) -> None:
        self.rate, self.left, self.lines = rate, most, {}

    def draw(self, jobs: list[Job], title: str) -> bool:
        for job in jobs:
            for seed in job.seeds:
                luck = zlib.crc32(f"{seed}".encode()) / 2**32  # the same noise for every row
                if (job.method.settings, job.method.weight, seed) not in self.lines and self.left:
                    self.left -= 1
                    right = luck < self.rate(job.method)
                    self.lines[job.method.settings, job.method.weight, seed] = {"all": right}
                elif (job.method.settings, job.method.weight, seed) not in self.lines:
                    return False
        return True

    def line(self, job: Job, seed: int) -> dict:
        return self.lines[job.method.settings, job.method.weight, seed]


FACTORS = [
    Factor("threshold", ({"mask_threshold": 0.2}, {"mask_threshold": 0.5}, {"mask_threshold": 0.6})),
    Factor("nothing", ({"presence": 0.5}, {"presence": 1.0})),
    Factor("weight", ({"weight": 0.5}, {"weight": 1.2})),
]


def _hashable(monkeypatch) -> None:
    monkeypatch.setattr(Method, "settings", property(lambda row: json.dumps(dict(row.knobs), sort_keys=True)))


def _rate(row: Method) -> float:
    return 0.4 + 0.3 * (row.knobs.get("mask_threshold") == 0.5) + 0.1 * (row.weight == 0.5)


def test_what_helps_is_adopted_and_what_does_nothing_is_not(monkeypatch):
    _hashable(monkeypatch)
    search = sweep.Sweep(Drawn(_rate), ASKED, Method("balanced", method="clora"))
    before = search.score()[0]
    assert search.once(FACTORS)
    assert search.best.knobs == {"mask_threshold": 0.5}
    assert search.best.weight == 0.5
    assert search.score()[0] > before + 0.25
    assert not search.once(FACTORS)
    confirmed = [t for t in search.tried if t.confirmed]
    assert [t.factor for t in confirmed if t.adopted] == ["threshold", "weight"]


def test_who_is_not_ahead_after_half_of_the_pictures_stops_there(monkeypatch):
    _hashable(monkeypatch)
    drawn = Drawn(_rate)
    search = sweep.Sweep(drawn, ASKED, Method("balanced", method="clora"))
    search.once(FACTORS[:1])
    pictures = {value: sum(f'": {value}' in settings for settings, _, _ in drawn.lines) for value in (0.2, 0.5)}
    assert pictures[0.2] == sweep.HALF[0] * sweep.HALF[1]
    assert pictures[0.5] > 4 * pictures[0.2]


def test_what_the_row_does_already_is_no_trial():
    search = sweep.Sweep(Drawn(_rate), ASKED, table()["balanced"])
    assert not search._new({"overlap": KNOB["overlap"].default})
    assert search._new({"overlap": "soft"})
    assert search._new({"weight": 0.123})


def test_time_that_runs_out_is_said_and_nothing_is_saved(monkeypatch, tmp_path):
    _hashable(monkeypatch)
    monkeypatch.setattr(sweep, "table", lambda *tuned: {"masks": Method("masks", method="masks")})
    monkeypatch.setattr(sweep, "of_row", lambda row: FACTORS)
    saved = []
    monkeypatch.setattr(sweep, "save", lambda *given: saved.append(given))
    options = argparse.Namespace(row="masks", factors="", trials=0, passes=1, out=tmp_path)
    drawn = Drawn(_rate, most=300)
    assert sweep.run(drawn, ASKED, options) == 3
    assert not saved
    drawn.left = 10**9
    assert sweep.run(drawn, ASKED, options) == 0
    assert saved == [("masks", 0.5, {"mask_threshold": 0.5}, methods.TUNED)]
    text = (tmp_path / "sweep-masks.md").read_text(encoding="utf-8")
    assert "| threshold | mask_threshold 0.5 | +" in text
    assert text.count("adopted") == 2


def test_factors_name_knobs_that_exist_and_every_choice_comes_up():
    named = {name for factor in known() for trial in factor.trials for name in trial} - {"weight"}
    assert named <= set(KNOB)
    choices = {knob.name for knob in KNOB.values() if knob.kind.options}
    assert choices - {"count_by"} <= named


@pytest.mark.parametrize(("row", "has", "lacks"), [
    ("balanced", "step_size", "switch_every"),
    ("fast", "compose_by", "switch_every"),
    ("masks", "mask_threshold", "step_size"),
    ("switch", "switch_every", "mask_threshold"),
    ("merge", "weight", "text_encoder"),
])  # fmt: skip
def test_a_row_tries_what_it_reads(row: str, has: str, lacks: str):
    names = {name for factor in of_row(table()[row]) for trial in factor.trials for name in trial}
    assert has in names
    assert lacks not in names


def test_baselines_get_as_many_trials():
    row = table()["switch"]
    assert sum(len(factor.trials) for factor in padded(of_row(row), 40)) == 40
    trials = padded(of_row(table()["merge"]), 40)[0].trials
    assert len({changed(table()["merge"], trial).weight for trial in trials}) == 40
