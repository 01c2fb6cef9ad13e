"""Exact checks of composing in the real WebUI: mistakes in rows, texts and sizes show here at once.

- a LoRA of weight 0 changes nothing: the host's own picture;
- an update of no size is no update;
- a switch that never switches is the host's picture with that LoRA: text encoders, pooled text and UNet are right.

Rows that are joined to a batch in another way are summed in another order, which is 1 of 255. A random model may blow
that up: tiny-sdxl-v does in a second pass, by WebUI alone with its halves in one batch or in two.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
SMALL: Mapping[str, Any] = {"width": 64, "height": 64, "steps": 3, "seed": 2}
"""The seed is one whose masks have no cell that a rounding would give to another branch."""
PROFILES = ("balanced", "fast", "authors")
Ask = Callable[..., Result]
"""Draws: a prompt, the weight of the LoRAs, and fields of the extension; none of them for the host's own picture."""


def bindings(model: str, weight: float = 1.0) -> list[dict[str, Any]]:
    subjects = zip(LORAS[model], ("cat", "dog"), strict=True)
    return [{"lora": lora, "subject": subject, "weight": weight, "trigger": ""} for lora, subject in subjects]


def compose(host: WebUI, model: str, wanted: Mapping[str, Any], weight: float = 1.0, **payload: Any) -> Result:
    """Two LoRAs that fit `model`, on cat and dog."""
    asked = {"bindings": bindings(model, weight), "profile": "balanced", **wanted}
    return draw(host, **{**SMALL, **fields(**asked), **with_model(model), **payload})


def asking(host: WebUI, model: str, **payload: Any) -> Ask:
    """Jobs of txt2img."""

    def ask(prompt: str = PROMPT, weight: float = 1.0, **wanted: Any) -> Result:
        asked = fields(bindings=bindings(model, weight), **wanted) if wanted else {}
        return draw(host, **{**SMALL, "prompt": prompt, **with_model(model), **payload, **asked})

    return ask


def largest(one: Result, other: Result) -> int:
    """The largest difference of two results' first pictures, of 255."""
    return difference(one.images[0], other.images[0])[0]


def differences(ask: Ask, model: str) -> dict[str, int]:
    """How far each check is from exact, of 255; 1 is."""
    plain = ask()
    found = {
        f"weight 0, {profile}": largest(ask(weight=0, profile=profile, method="masks"), plain) for profile in PROFILES
    }
    masked = ask(profile="authors", method="masks")
    found["update of size 0"] = largest(ask(profile="authors", step_size=0), masked)
    merged = ask(f"{PROMPT} <lora:{LORAS[model][0]}:1>")
    found["switch that never switches"] = largest(ask(method="switch", switch_every=100), merged)
    assert masked.sha1 != plain.sha1, "LoRAs change nothing"
    return found


def require_exact(ask: Ask, model: str) -> None:
    """All checks for one way to draw."""
    found = differences(ask, model)
    assert max(found.values()) <= 1, found


def require_same(one: Result, other: Result) -> None:
    assert largest(one, other) <= 1
