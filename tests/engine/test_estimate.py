"""The estimate counts what the engine then does: both read the same plans."""

import pytest

from clora_ext.engine.estimate import estimate
from clora_ext.settings.profiles import PROFILES, build_settings
from tests.engine.test_route import late, run, walk

BRANCHES = (0, 1, 2)


@pytest.mark.parametrize(
    ("method", "rows"), [("clora", 6), ("masks", 6), ("composite", 4), ("switch", 2), ("merge", 2)]
)
def test_rows_of_a_step(method: str, rows: int):
    found = estimate(build_settings("authors", method), BRANCHES, 20)
    assert found.plain_rows == 40
    assert found.rows == (0 if method == "clora" else 20 * rows)  # a stale step has predicted all in its gradient pass
    assert found.gradient_rows == (20 * 6 if method == "clora" else 0)
    assert (found.ratio == 1.0) == (rows == 2)


def test_the_papers_rounds_are_counted():
    paper = estimate(build_settings("paper"), BRANCHES, 50)
    assert paper.gradient_rows == (25 + 3 * 20) * 3


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"uncond": "routed"},
        {"uncond": "joined"},
        {"uncond": "branches"},
        {"route": False},
        {"compose_by": "row", "maps_from": "both"},
    ],
)
def test_the_estimate_is_what_the_engine_does(profile: str, knobs: dict):
    wanted = build_settings(profile, **{"lock_steady": 0, **knobs})
    report, _, _ = run(wanted)
    counted = estimate(wanted, BRANCHES, 10)
    assert counted.rows == sum(step.rows for step in report.steps)
    assert counted.gradient_rows == sum(step.gradient_rows for step in report.steps)


@pytest.mark.parametrize("profile", ["balanced", "fast", "authors"])
def test_it_counts_a_run_that_begins_at_half_the_noise(profile: str):
    """Ten steps of which five are made, as of img2img with the strength 0.5."""
    wanted = build_settings(profile, lock_steady=0)
    composition, _ = walk(wanted, late(5))
    counted = estimate(wanted, BRANCHES, 10, 0.5)
    assert counted.plain_rows == 10
    assert counted.rows == sum(step.rows for step in composition.report.steps)
    assert counted.gradient_rows == sum(step.gradient_rows for step in composition.report.steps)


@pytest.mark.parametrize(("profile", "rows"), [("balanced", 2), ("fast", 2), ("authors", 0), ("paper", 0)])
def test_late_steps_are_told_where_there_are_any(profile: str, rows: int):
    assert estimate(build_settings(profile), BRANCHES, 20).late_rows == rows


def test_fixed_masks_make_every_step_a_late_one():
    assert estimate(build_settings("balanced", "masks"), BRANCHES, 20, fixed=True).late_rows == 2
