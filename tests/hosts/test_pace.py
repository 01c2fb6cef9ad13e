"""How long a picture will take, by those before it."""

from dataclasses import replace

import pytest

from clora_ext.hosts.webui.page.pace import Load, Pace, in_words

LOAD = Load("Stable Diffusion 1.x", 512 * 512, work=40.0, composed=True)


def test_nothing_is_said_before_a_picture_like_it():
    pace = Pace()
    pace.keep(replace(LOAD, composed=False), 3.0)
    pace.keep(replace(LOAD, model="SDXL"), 3.0)
    assert pace.seconds(LOAD) is None


def test_seconds_follow_work_and_pixels():
    pace = Pace()
    pace.keep(LOAD, 6.0)
    assert pace.seconds(replace(LOAD, work=60.0)) == pytest.approx(9.0)
    assert pace.seconds(replace(LOAD, pixels=2 * LOAD.pixels)) == pytest.approx(12.0)


def test_the_last_picture_of_the_nearest_size_counts():
    pace = Pace()
    pace.keep(LOAD, 60.0)
    pace.keep(LOAD, 6.0)
    pace.keep(replace(LOAD, pixels=4 * LOAD.pixels), 100.0)
    assert pace.seconds(LOAD) == 6.0
    assert pace.seconds(replace(LOAD, pixels=3 * LOAD.pixels)) == pytest.approx(75.0)


def test_a_job_that_another_has_followed_is_not_timed():
    pace, first, second = Pace(), object(), object()
    pace.begin(first)
    assert (pace.seconds_of(first) or -1.0) >= 0.0
    pace.begin(second)
    assert pace.seconds_of(first) is None


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "less than 1 s"), (11.6, "12 s"), (89, "89 s"), (200, "3 min")])
def test_seconds_in_words(seconds: float, words: str):
    assert in_words(seconds) == words
