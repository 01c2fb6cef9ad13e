"""Small jobs that compose, for the tests on the real WebUI."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image, ImageChops, ImageStat

from tests.webui.server import Result, WebUI

PROMPT = "a cat and a dog"
TAGGED = f"{PROMPT} <lora:tinyA:1> <lora:tinyB:1>"
BINDINGS: Sequence[Mapping[str, Any]] = (
    {"lora": "tinyA", "subject": "cat", "trigger": "sks"},
    {"lora": "tinyB", "subject": "dog", "trigger": "sks"},
)
SILENT = tuple(
    {"lora": binding["lora"], "subject": binding["subject"], "weight": 0, "trigger": ""} for binding in BINDINGS
)
"""Bindings that change nothing, so that what is composed must be the host's own picture."""

SIZE: Mapping[str, Any] = {"width": 128, "height": 128, "steps": 3}
SMALL: Mapping[str, Any] = {"width": 64, "height": 64, "steps": 2}
"""For tests that draw often and need nothing of the picture but its digest."""


def fields(**values: Any) -> dict[str, Any]:
    """The part of an API request that hands `values` to the extension."""
    return {"alwayson_scripts": {"CLoRA": {"args": [values]}}}


def with_model(name: str, **settings: Any) -> dict[str, Any]:
    """The part of an API request that chooses a model of the server, and overrides other `settings` of WebUI."""
    return {"override_settings": {"sd_model_checkpoint": name, **settings}}


def draw(host: WebUI, **payload: Any) -> Result:
    """A small job of WebUI's own, without a word for the extension."""
    return host.txt2img(**{"prompt": PROMPT, **SIZE, **payload})


def compose(host: WebUI, wanted: Mapping[str, Any] | None = None, **payload: Any) -> Result:
    """A small job with two LoRAs bound to cat and dog; `wanted` are further fields of the extension.

    By a row per LoRA where `wanted` names no other profile: that one has branches, updates, masks and the lock.
    """
    asked = {"bindings": list(BINDINGS), "profile": "balanced", **(wanted or {})}
    return draw(host, **fields(**asked), **payload)


def last(host: WebUI) -> dict[str, Any]:
    """The extension's report of the last job."""
    answer = host.get("/clora/v1/last")
    answer.raise_for_status()
    return answer.json()


def steps(host: WebUI) -> list[dict[str, Any]]:
    """The steps of the last job's first batch."""
    return last(host)["batches"][0]["steps"]


def is_sampling(host: WebUI) -> bool:
    """Whether a job has done its first step."""
    told = host.get("/sdapi/v1/progress?skip_current_image=true").json()
    return int(told["state"]["sampling_step"]) > 1


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Look again and again; raise AssertionError when it takes longer."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.2)


def difference(one: Image.Image, other: Image.Image) -> tuple[int, float]:
    """Largest and mean absolute difference of two pictures' channels, of 255."""
    between = ImageChops.difference(one, other)
    largest = max(high for _, high in between.getextrema())
    means = ImageStat.Stat(between).mean
    return largest, sum(means) / len(means)


LARGEST, MEAN = 2, 0.05
"""How far, of 255, pictures may be apart that differ only in how rows are batched: a CPU sums in another order then."""


def require_alike(one: Image.Image, other: Image.Image) -> None:
    """Within the tolerance of another order of summation."""
    largest, mean = difference(one, other)
    assert largest <= LARGEST, (largest, mean)
    assert mean <= MEAN, (largest, mean)
