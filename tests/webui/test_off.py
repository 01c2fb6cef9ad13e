"""What must not change: the host's own image where nothing is composed, and the host itself after any job."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from tests.webui.jobs import BINDINGS, PROMPT, SMALL, TAGGED, compose, draw, fields
from tests.webui.server import Result, WebUI, WebUIError

OFF = (
    pytest.param({}, id="not-asked"),
    pytest.param(fields(enabled=False), id="disabled"),
    pytest.param(fields(enabled=False, bindings=list(BINDINGS), method="masks"), id="disabled-with-bindings"),
)


@pytest.fixture(scope="module")
def plain(webui_plain: WebUI) -> Callable[[str], Result]:
    """A small picture of the WebUI without us, by prompt; each is drawn once."""
    return cache(lambda prompt: draw(webui_plain, prompt=prompt, **SMALL))


@pytest.mark.parametrize("asked", OFF)
@pytest.mark.parametrize("prompt", [PROMPT, TAGGED])
def test_off_is_the_webui_without_us(webui: WebUI, plain: Callable[[str], Result], asked: dict, prompt: str):
    off = draw(webui, prompt=prompt, **SMALL, **asked)
    assert off.sha1 == plain(prompt).sha1
    assert off.infotexts == plain(prompt).infotexts


def test_off_is_the_same_after_a_composed_and_a_failed_job(webui: WebUI, plain: Callable[[str], Result]):
    expected = [plain(PROMPT).sha1, plain(TAGGED).sha1, plain(PROMPT).sha1]
    assert compose(webui, prompt=TAGGED, **SMALL).sha1 not in expected
    assert [draw(webui, prompt=prompt, **SMALL).sha1 for prompt in (PROMPT, TAGGED, PROMPT)] == expected
    with pytest.raises(WebUIError):
        compose(webui, {"bindings": [{"lora": "tinyA", "subject": "horse"}]}, **SMALL)
    assert [draw(webui, prompt=prompt, **SMALL).sha1 for prompt in (PROMPT, TAGGED, PROMPT)] == expected


@pytest.mark.parametrize("prompt", [PROMPT, TAGGED], ids=["bound", "tagged"])
def test_merge_is_the_webui_with_the_tags(webui: WebUI, plain: Callable[[str], Result], prompt: str):
    assert compose(webui, {"method": "merge"}, prompt=prompt, **SMALL).sha1 == plain(TAGGED).sha1


@pytest.mark.parametrize("profile", ["balanced", "paper"])
@pytest.mark.parametrize("tag", ["<lora:tinyA:1>", "<lora:tinyA:0.5:0.8>", "<lora:tinyA:te=0.3:unet=1.1>"])
def test_one_lora_is_what_the_webui_draws(webui: WebUI, plain: Callable[[str], Result], profile: str, tag: str):
    prompt = f"{PROMPT} {tag}"
    asked = fields(profile=profile, bindings=[{"lora": "tinyA", "subject": "cat"}])
    bound = draw(webui, prompt=prompt, **SMALL, **asked)
    assert bound.sha1 == plain(prompt).sha1
    assert f"CLoRA profile: {profile}" in bound.infotexts[0]


def test_one_lora_bound_without_a_tag_is_what_the_webui_draws_with_it(webui: WebUI, plain: Callable[[str], Result]):
    binding = {"lora": "tinyA", "subject": "cat", "trigger": "sks", "weight": 0.7}
    bound = draw(webui, **SMALL, **fields(bindings=[binding]))
    assert bound.sha1 == plain("a sks cat and a dog <lora:tinyA:0.7>").sha1


# -- nothing is left behind ------------------------------------------------------------------------------------------


def state(host: WebUI) -> dict:
    """The probe's counts."""
    answer = host.get("/probe/state")
    answer.raise_for_status()
    return answer.json()


@dataclass(frozen=True)
class Settled:
    """The probed host, what it drew before our jobs, and its counts then."""

    host: WebUI
    plain: tuple[str, ...]
    composed: str
    counts: dict


@pytest.fixture(scope="module")
def settled(webui_probed: WebUI) -> Settled:
    """Facts of the probed host before anything else is asked of it; its own lazy set-up is done by then."""
    plain = pictures(webui_probed)
    counts = state(webui_probed)
    return Settled(webui_probed, plain, compose(webui_probed, **SMALL).sha1, counts)


def pictures(host: WebUI) -> tuple[str, ...]:
    """Digests with LoRAs and without, the last without, so that none is worn afterwards."""
    return tuple(draw(host, prompt=prompt, **SMALL).sha1 for prompt in (TAGGED, PROMPT))


def require_unchanged(settled: Settled) -> None:
    """Right after a job the counts, then the pictures and the counts again, are those of before."""
    assert {**state(settled.host), "worn": []} == settled.counts
    assert pictures(settled.host) == settled.plain
    assert state(settled.host) == settled.counts


def test_the_probe_counts_what_it_says(settled: Settled):
    """An armed probe is itself a hook: were the counts blind, this would fail."""
    host, counts = settled.host, settled.counts
    host.post("/probe/unet", {"call": 1, "act": "raise"}).raise_for_status()
    assert state(host)["forward_pre_hooks"] == counts["forward_pre_hooks"] + 1
    with pytest.raises(WebUIError, match="broken on purpose"):
        draw(host, **SMALL)
    assert state(host) == counts
    assert counts["trainable"] > 500
    assert counts["worn"] == []
    draw(host, prompt=TAGGED, **SMALL)
    assert state(host)["worn"] == ["tinyA", "tinyB"]


@pytest.mark.parametrize("method", ["clora", "masks", "merge", "composite", "switch"])
def test_nothing_is_left_after_a_job(settled: Settled, method: str):
    compose(settled.host, {"method": method}, **SMALL)
    require_unchanged(settled)


ERRORS = (
    pytest.param("unet", {"call": 1, "act": "raise"}, id="unet-in-the-gradient-pass"),
    pytest.param("unet", {"call": 2, "act": "raise"}, id="unet-in-the-prediction"),
    pytest.param("unet", {"call": 3, "act": "raise"}, id="unet-in-the-second-step"),
    pytest.param("function", {"name": "clora_ext.core.loss.info_nce", "call": 1}, id="loss"),
    pytest.param("function", {"name": "clora_ext.core.masks.concept_mask", "call": 1}, id="masks"),
    pytest.param("function", {"name": "clora_ext.core.masks.fuse", "call": 2}, id="fusion-in-the-second-step"),
    pytest.param("function", {"name": "clora_ext.hosts.webui.drive.conditions.encode_texts", "call": 1}, id="texts"),
    pytest.param("function", {"name": "clora_ext.hosts.webui.drive.networks.delta_of", "call": 9}, id="deltas"),
    pytest.param("function", {"name": "clora_ext.hosts.webui.drive.catalogue.lora_facts", "call": 2}, id="binding"),
)


@pytest.mark.parametrize(("route", "body"), ERRORS)
def test_an_error_gives_no_image_and_leaves_nothing(settled: Settled, route: str, body: dict):
    settled.host.post(f"/probe/{route}", body).raise_for_status()
    with pytest.raises(WebUIError, match="broken on purpose") as caught:
        compose(settled.host, **SMALL)
    assert caught.value.status == 500
    require_unchanged(settled)


@pytest.mark.parametrize("act", ["interrupt", "skip"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_job_that_is_stopped_leaves_nothing(settled: Settled, act: str, call: int):
    settled.host.post("/probe/unet", {"call": call, "act": act}).raise_for_status()
    assert compose(settled.host, **SMALL).sha1 != settled.composed
    require_unchanged(settled)


@pytest.fixture
def wrappers(settled: Settled) -> Iterator[Callable[..., None]]:
    """Lets another extension wrap what we wrap, before us ("older") or after us ("younger")."""

    def put(*wanted: str) -> None:
        settled.host.post("/probe/wrappers", {"wanted": list(wanted)}).raise_for_status()

    yield put
    put()


def test_an_older_wrapper_of_somebody_else_is_called_and_comes_back(settled: Settled, wrappers: Callable[..., None]):
    wrappers("older")
    assert compose(settled.host, **SMALL).sha1 == settled.composed
    seen = settled.host.get("/probe/wrappers").json()
    assert seen["called"] == {"older sample": 1, "older forward": 2}
    assert seen["stands"] == {"older sample": True, "older forward": True}


def test_younger_wrappers_are_called_and_stay(settled: Settled, wrappers: Callable[..., None]):
    wrappers("older", "younger")
    assert compose(settled.host, **SMALL).sha1 == settled.composed
    seen = settled.host.get("/probe/wrappers").json()
    assert seen["called"] == {"older sample": 1, "younger sample": 1, "older forward": 2, "younger forward": 1}
    assert seen["stands"]["younger sample"]
    assert seen["stands"]["younger forward"]
    wrappers()
    require_unchanged(settled)


def test_wrappers_stay_after_an_error(settled: Settled, wrappers: Callable[..., None]):
    wrappers("older")
    settled.host.post("/probe/unet", {"call": 2, "act": "raise"}).raise_for_status()
    with pytest.raises(WebUIError, match="broken on purpose"):
        compose(settled.host, **SMALL)
    assert settled.host.get("/probe/wrappers").json()["stands"] == {"older sample": True, "older forward": True}


def test_after_all_of_that_the_composed_picture_is_the_same(settled: Settled):
    assert compose(settled.host, **SMALL).sha1 == settled.composed
