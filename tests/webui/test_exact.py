"""Exact checks on every kind of model and every sampler: mistakes in rows, texts and sizes show here at once.

- a LoRA of weight 0 changes nothing: the host's own picture, apart from the order in which a CPU sums;
- an update of no size is no update;
- a switch that never switches is the host's picture with that LoRA: text encoders, pooled text and UNet are right.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.webui.jobs import PROMPT, difference, draw, fields, with_model
from tests.webui.server import Result, WebUI

LORAS: Mapping[str, Sequence[str]] = {
    "tiny-sd1": ("tinyA", "tinyB"),
    "tiny-sd1-inpainting": ("tinyA", "tinyB"),
    "tiny-sd2": ("v2A", "v2B"),
    "tiny-sd2-v": ("v2A", "v2B"),
    "tiny-sdxl": ("xlA", "xlB"),
    "tiny-sdxl-v": ("xlA", "xlB"),
    "tiny-sdxl-inpainting": ("xlA", "xlB"),
}
"""Every kind of model with two LoRAs that fit."""
MODELS = tuple(LORAS)
SMALL: Mapping[str, Any] = {"width": 64, "height": 64, "steps": 3}


def bindings(model: str, weight: float = 1.0) -> list[dict[str, Any]]:
    subjects = zip(LORAS[model], ("cat", "dog"), strict=True)
    return [{"lora": lora, "subject": subject, "weight": weight, "trigger": ""} for lora, subject in subjects]


def compose(host: WebUI, model: str, wanted: Mapping[str, Any], weight: float = 1.0, **payload: Any) -> Result:
    asked = {"bindings": bindings(model, weight), **wanted}
    return draw(host, **{**SMALL, **fields(**asked), **with_model(model), **payload})


def require_same(one: Result, other: Result) -> None:
    """Rows that are joined to a batch in another way are summed in another order: 1 of 255."""
    largest, mean = difference(one.images[0], other.images[0])
    assert largest <= 1, (largest, mean)


def require_exact(host: WebUI, model: str, **payload: Any) -> None:
    """All three checks for one way to sample."""
    plain = draw(host, **{**SMALL, **with_model(model), **payload})
    for profile in ("balanced", "fast", "authors"):
        silent = compose(host, model, {"profile": profile, "method": "masks"}, weight=0, **payload)
        require_same(silent, plain)
    masks = compose(host, model, {"profile": "authors", "method": "masks"}, **payload)
    still = compose(host, model, {"profile": "authors", "step_size": 0}, **payload)
    require_same(still, masks)
    assert masks.sha1 != plain.sha1
    first = LORAS[model][0]
    merged = draw(host, **{**SMALL, **with_model(model), **payload, "prompt": f"{PROMPT} <lora:{first}:1>"})
    switch = compose(host, model, {"method": "switch", "switch_every": 100}, **payload)
    require_same(switch, merged)


@pytest.mark.parametrize("model", MODELS)
def test_every_kind_of_model(webui_models: WebUI, model: str):
    require_exact(webui_models, model, sampler_name="Euler")
