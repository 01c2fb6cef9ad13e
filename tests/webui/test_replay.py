"""Late steps replayed in the real WebUI, by captures that a CPU can do."""

from collections.abc import Iterator

import pytest

from tests.webui.jobs import SMALL, compose, last, steps
from tests.webui.server import Result, WebUI

JOB = {**SMALL, "steps": 8, "sampler_name": "Euler"}
LATE = {"lock_at": 1}
"""Masks are locked in the second step."""
ON = {"override_settings": {"clora_replay": True}}


@pytest.fixture
def faked(webui_probed: WebUI) -> Iterator[WebUI]:
    """The probed WebUI, in which calls can be captured."""
    _count(webui_probed, fake=True)
    yield webui_probed
    _count(webui_probed, fake=False)


def _count(host: WebUI, *, fake: bool) -> int:
    answer = host.post("/probe/replay", {"fake": fake})
    answer.raise_for_status()
    return answer.json()


def _draw(host: WebUI, **payload: object) -> Result:
    return compose(host, LATE, **JOB, **payload)


def test_replayed_steps_draw_the_same_picture(faked: WebUI):
    plain = _draw(faked)
    assert not any(step["replayed"] for step in steps(faked))
    replayed = _draw(faked, **ON)
    assert replayed.sha1 == plain.sha1
    assert [step["replayed"] for step in steps(faked)] == [False] * 4 + [True] * 4
    assert last(faked)["batches"][0]["notes"] == []
    assert _count(faked, fake=True) == 5


def test_somebody_elses_hook_is_named_and_left_to_run(faked: WebUI):
    faked.post("/probe/hook", {"on": True}).raise_for_status()
    try:
        _draw(faked, **ON)
    finally:
        faked.post("/probe/hook", {"on": False}).raise_for_status()
    told = last(faked)["batches"][0]["notes"]
    assert len(told) == 1
    assert told[0].endswith("has a hand in the UNet's layers")
    assert told[0].startswith("late steps are not replayed: ")
    assert _count(faked, fake=True) == 0


def test_without_a_gpu_a_note_says_so_and_the_picture_is_the_same(webui_probed: WebUI):
    """All that WebUI itself has put into the UNet is known, or the note would be another."""
    plain, asked = _draw(webui_probed), _draw(webui_probed, **ON)
    assert asked.sha1 == plain.sha1
    assert last(webui_probed)["batches"][0]["notes"] == ["late steps are not replayed: that takes a GPU of NVIDIA's"]


def test_what_webui_does_to_layers_while_they_run_is_in_the_way(webui_probed: WebUI):
    told = webui_probed.get("/probe/replay").json()
    assert told.pop("nothing") is None
    assert all(told.values())
    assert len(set(told.values())) == len(told)
