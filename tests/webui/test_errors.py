"""A request that can not be met fails with a sentence and the field's name, never with an image; the next job works."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.webui.jobs import BINDINGS, PROMPT, SMALL, compose, draw, fields, last
from tests.webui.server import SMALL_JOB, WebUI, WebUIError

CAT, DOG = BINDINGS
BAD = (
    # (name, what the extension is given, the rest of the request, HTTP status, words of the answer)
    ("unknown-field", {"step_sise": 3}, {}, 422, ("step_sise", "step_size")),
    ("bad-profile", {"profile": "default"}, {}, 422, ("profile", "fast, balanced, authors, paper")),
    ("bad-method", {"method": "lora"}, {}, 422, ("method", "composite")),
    ("below-range", {"temperature": 0}, {}, 422, ("temperature", "between 0.01 and 5")),
    ("above-range", {"mask_threshold": 1.01}, {}, 422, ("mask_threshold", "between 0 and 1")),
    ("not-a-number", {"step_size": "much"}, {}, 422, ("step_size", "a number")),
    ("not-a-choice", {"overlap": "sum"}, {}, 422, ("overlap", "strongest")),
    ("not-a-boolean", {"enabled": "yes"}, {}, 422, ("enabled", "true or false")),
    ("bindings-no-list", {"bindings": {"lora": "tinyA"}}, {}, 422, ("bindings", "list of objects")),
    ("binding-no-object", {"bindings": ["tinyA: cat"]}, {}, 422, ("bindings[0]", "object")),
    ("binding-without-lora", {"bindings": [{"subject": "cat"}]}, {}, 422, ("bindings[0]", "lora")),
    ("binding-unknown-field", {"bindings": [{**CAT, "wieght": 1}]}, {}, 422, ("bindings[0]", "wieght")),
    ("binding-bad-role", {"bindings": [{**CAT, "role": "subjects"}]}, {}, 422, ("role", "style_on")),
    ("unknown-lora", {"bindings": [CAT, {"lora": "tinyZ", "subject": "dog"}]}, {}, 422, ("lora", "tinyZ", "tinyA")),
    ("no-such-subject", {"bindings": [CAT, {**DOG, "subject": "horse"}]}, {}, 422, ("subject", "horse", "cat, dog")),
    ("one-subject-for-two", {"bindings": [CAT, {**DOG, "subject": "cat"}]}, {}, 422, ("subject", "cat")),
    ("bound-twice", {"bindings": [CAT, {**CAT, "weight": 0.5}]}, {}, 422, ("lora", "twice")),
    ("two-candidates", {"bindings": [{**CAT, "subject": "cat"}, DOG]}, {"prompt": "a cat, a cat and a dog"}, 422,
     ("occurrence", "cat")),
    ("no-such-place", {"bindings": [{**CAT, "occurrence": 2}, DOG]}, {}, 422, ("occurrence", "1")),
    ("nothing-tells", {"bindings": [{"lora": "tinyA"}, DOG]}, {}, 422, ("subject", "tinyA", "cat")),
    ("and", {}, {"prompt": "a cat AND a dog"}, 422, ("prompt", "AND")),
    ("bad-tag", {"bindings": []}, {"prompt": "a cat <lora:tinyA:much> and a dog"}, 422, ("prompt", "number")),
    ("scheduled-subject", {}, {"prompt": "a [cat:bird:0.5] and a dog"}, 422, ("subject", "schedule")),
    ("networks-off", {}, {"disable_extra_networks": True}, 409, ("disable_extra_networks",)),
)  # fmt: skip


@pytest.fixture(scope="module")
def good(webui: WebUI) -> str:
    """The digest of a composed picture, made before anything fails."""
    return compose(webui, **SMALL).sha1


def ask(host: WebUI, request: dict[str, Any], payload: dict[str, Any]) -> requests.Response:
    """Send a small job, whatever the answer is."""
    return host.post("/sdapi/v1/txt2img", {**SMALL_JOB, "prompt": PROMPT, **SMALL, **payload, **request})


@pytest.mark.parametrize(
    ("wanted", "payload", "status", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
def test_a_bad_request_is_refused_by_name(
    webui: WebUI, good: str, wanted: dict, payload: dict, status: int, words: tuple[str, ...]
):
    request = fields(**{"bindings": list(BINDINGS), **wanted})
    for more in ({}, {"n_iter": 2}):
        answer = ask(webui, request, {**payload, **more})
        assert answer.status_code == status, answer.text
        told = answer.json()
        assert "images" not in told
        for word in words:
            assert word in told["detail"], told["detail"]
        assert told["detail"].endswith((".", "?")), "an error is a sentence"
    assert compose(webui, **SMALL).sha1 == good


@pytest.mark.parametrize("args", [[["a", "list"]], [7], [None]], ids=["list", "number", "nothing"])
def test_arguments_that_are_no_object_are_refused(webui: WebUI, good: str, args: list[Any]):
    asked = {"alwayson_scripts": {"CLoRA": {"args": args}}}
    answer = ask(webui, asked, {})
    assert answer.status_code == 422, answer.text
    assert "enabled" in answer.json()["detail"]
    assert compose(webui, **SMALL).sha1 == good


def test_an_error_is_a_line_of_the_log(webui: WebUI):
    mark = webui.log_mark()
    with pytest.raises(WebUIError):
        compose(webui, {"profile": "default"}, **SMALL)
    assert "CLoRA: “profile” is 'default'" in webui.log(mark)


def test_a_bad_job_in_the_queue_does_not_touch_a_good_one(webui: WebUI, good: str):
    def bad() -> WebUIError:
        with pytest.raises(WebUIError) as caught:
            compose(webui, {"bindings": [CAT, {**DOG, "subject": "horse"}]}, **SMALL)
        return caught.value

    plain = draw(webui, **SMALL).sha1
    with ThreadPoolExecutor(max_workers=4) as pool:
        first, wrong = pool.submit(compose, webui, **SMALL), pool.submit(bad)
        other, wrong_too = pool.submit(draw, webui, **SMALL), pool.submit(bad)
    assert first.result().sha1 == good
    assert other.result().sha1 == plain
    assert wrong.result().status == wrong_too.result().status == 422


@pytest.mark.parametrize(
    ("wanted", "field", "words"),
    [({"profile": "default"}, "profile", "balanced"), ({"bindings": [{"lora": "tinyZ"}]}, "lora", "tinyZ")],
    ids=["before-the-job", "while-binding"],
)
def test_the_report_of_a_refused_job_says_why(webui: WebUI, good: str, wanted: dict, field: str, words: str):
    with pytest.raises(WebUIError):
        compose(webui, wanted, **SMALL)
    told = last(webui)
    assert told["error"]["field"] == field
    assert words in told["error"]["message"]
    assert told["composed"] is False
    assert compose(webui, **SMALL).sha1 == good
    assert last(webui)["error"] is None
