"""Beside a probe that does what other extensions do to a job."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.webui.beside import compose, notes, plain, refused
from tests.webui.exact import require_same
from tests.webui.jobs import PROMPT, SMALL, draw, fields
from tests.webui.server import WebUI

Do = Callable[..., None]
CALLED = "calls the UNet in its own way"


@pytest.fixture
def does(webui_probed: WebUI) -> Iterator[Do]:
    """Tells the probe what to do to jobs."""

    def ask(*wanted: str) -> None:
        webui_probed.post("/probe/neighbour", {"does": list(wanted)}).raise_for_status()

    yield ask
    ask()


def told(host: WebUI) -> dict[str, Any]:
    return host.get("/probe/neighbour").json()


def test_marks_are_on_every_row_and_change_nothing(webui_probed: WebUI, does: Do):
    before = compose(webui_probed).sha1
    unmarked = compose(webui_probed, silent=True)
    does("mark")
    require_same(compose(webui_probed, silent=True), plain(webui_probed))
    compose(webui_probed)
    assert told(webui_probed)["forward"] == SMALL["steps"]
    assert f"probe_extension {CALLED}" in notes(webui_probed)
    does()
    require_same(compose(webui_probed, silent=True), unmarked)
    assert compose(webui_probed).sha1 == before
    assert CALLED not in notes(webui_probed)


def test_the_model_may_be_called_after_it_has_answered(webui_probed: WebUI, does: Do):
    before = compose(webui_probed).sha1
    does("call")
    assert compose(webui_probed).sha1 == before
    assert told(webui_probed)["calls"] == SMALL["steps"]


@pytest.mark.parametrize(("what", "words"), [("words", "adds tokens"), ("attention", "cross-attention")])
def test_what_would_draw_noise_is_refused_by_name(webui_probed: WebUI, does: Do, what: str, words: str):
    composed, alone = compose(webui_probed).sha1, plain(webui_probed).sha1
    does(what)
    sentence = refused(webui_probed)
    assert words in sentence
    assert "turn it off" in sentence
    assert told(webui_probed)["ended"], "the other extension is told that the job is over"
    does()
    assert plain(webui_probed).sha1 == alone
    assert compose(webui_probed).sha1 == composed


def test_an_argument_of_a_tag_that_nobody_reads_is_told(webui_probed: WebUI):
    prompt = PROMPT + " <lora:tinyA:1:bind=cat:lbw=OUTD> <lora:tinyB:1:bind=dog>"
    draw(webui_probed, prompt=prompt, **SMALL, **fields())
    assert "“lbw=” of LoRA tinyA does nothing" in notes(webui_probed)
