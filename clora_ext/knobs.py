"""Every knob once: default, range, words for people. UI, API, infotext and validation are loops over ``KNOBS``."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clora_ext.core.masks import MORPHOLOGY
from clora_ext.errors import SettingsError

Value = float | int | bool | str


@dataclass(frozen=True, slots=True)
class Knob:
    """One number, choice or list that a user can turn."""

    name: str
    label: str
    help: str
    default: Value
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    listed: tuple[str, ...] | None = None
    """For a comma separated list: the words allowed; empty for numbers."""

    def parse(self, value: Any) -> Value:
        """Turn ``value`` into this knob's type. Raises ``SettingsError`` naming the field and what it takes."""
        kind = type(self.default)
        if self.listed is not None:
            return self._list(value)
        if self.choices:
            if value not in self.choices:
                raise self._error(value, f"one of {', '.join(self.choices)}")
            return value
        if kind is bool:
            return self._bool(value)
        try:
            number = kind(float(value)) if not isinstance(value, bool) else None
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or math.isnan(number) or (kind is int and float(value) != number):
            raise self._error(value, "a whole number" if kind is int else "a number")
        if not self.low <= number <= self.high:
            raise self._error(value, f"between {self.low:g} and {self.high:g}")
        return number

    def _bool(self, value: Any) -> bool:
        named = {"true": True, "false": False}
        found = value if isinstance(value, bool) else named.get(str(value).lower())
        if found is None:
            raise self._error(value, "true or false")
        return found

    def _list(self, value: Any) -> str:
        parts = value if isinstance(value, list | tuple) else str(value).split(",")
        words = [str(part).strip() for part in parts if str(part).strip()]
        for word in words:
            if self.listed and word not in self.listed:
                raise self._error(value, f"a list out of {', '.join(self.listed)}")
            if not self.listed and not _is_number(word):
                raise self._error(value, "a list of numbers such as 0, 10, 20")
        return ", ".join(words)

    def _error(self, value: Any, wanted: str) -> SettingsError:
        return SettingsError(f"“{self.name}” is {value!r}; it must be {wanted}.", field=self.name)


def _is_number(word: str) -> bool:
    try:
        return 0.0 <= float(word) < 1e6
    except ValueError:
        return False


KNOBS: tuple[Knob, ...] = (
    Knob(
        "count_by",
        "Count steps by",
        "Scale of the four positions below: step is the index; step50 the index as if there were 50 steps; "
        "noise the percentage of the noise schedule that is behind.",
        "noise",
        choices=("noise", "step", "step50"),
    ),
    Knob(
        "compose_by",
        "Compose by",
        "branches: one row per LoRA until the masks are locked; row: one row alone, which finds the masks and wears "
        "the LoRAs by them.",
        "branches",
        choices=("branches", "row"),
    ),
    Knob(
        "route",
        "Route when locked",
        "Once the masks are locked, one row that wears every LoRA in its own mask draws instead of the branches.",
        default=True,
    ),
    Knob(
        "gradient_row",
        "Gradient row",
        "Composing by a row, differentiate the base alone, or the routed row itself once there is one.",
        "routed",
        choices=("base", "routed"),
    ),
    Knob("update_until", "Update until", "The latent is updated before this position.", 40.0, 0.0, 1000.0),
    Knob("rounds_at", "Extra rounds at", "Positions at which the latent is updated several times.", "", listed=()),
    Knob("rounds", "Extra rounds", "How many more updates at each of those positions.", 20, 0, 100),
    Knob(
        "rounds_enough",
        "Rounds end at",
        "No further round at a step once the concepts' maps are this far apart (separation); 0 for all rounds.",
        0.0,
        0.0,
        1.0,
    ),
    Knob("step_size", "Step size (alpha)", "How far an update moves the latent along its gradient.", 12.0, 0.0, 200.0),
    Knob(
        "step_decay",
        "Step size decay",
        "constant, or sqrt: falling to 0.71 of the step size at the last step.",
        "sqrt",
        choices=("constant", "sqrt"),
    ),
    Knob(
        "step_clip",
        "Step bound",
        "Largest root mean square of one update, in latent units; 0 for no bound.",
        0.15,
        0.0,
        10.0,
    ),
    Knob("temperature", "Temperature (tau)", "InfoNCE temperature: lower contrasts harder.", 0.5, 0.01, 5.0),
    Knob(
        "presence",
        "Presence",
        "How hard an update brings back a subject that is weak or swallowed by another; 0 for the contrast alone.",
        0.0,
        0.0,
        10.0,
    ),
    Knob(
        "refresh",
        "Predict after the update",
        "Predict the noise from the updated latent; off, from the latent before its last update, as the paper does: "
        "that is the gradient pass's own prediction, and saves a forward.",
        default=False,
    ),
    Knob(
        "maps_from",
        "Maps from",
        "Read cross-attention in the conditional half alone, or average both halves of guidance.",
        "cond",
        choices=("cond", "both"),
    ),
    Knob(
        "map_level",
        "Map level",
        "auto: the coarsest level with a short side of at least 12; quarter: a quarter of the latent's size.",
        "auto",
        choices=("auto", "quarter"),
    ),
    Knob(
        "word_maps",
        "Words of several tokens",
        "In the loss, average a word's tokens (mean) or count each as a map of its own (each).",
        "mean",
        choices=("mean", "each"),
    ),
    Knob(
        "mask_threshold",
        "Mask threshold (lambda)",
        "A pixel belongs to a subject where a token's map is above this share of its peak.",
        0.35,
        0.0,
        1.0,
    ),
    Knob(
        "mask_tokens",
        "Mask from",
        "The subject's words alone, or the trigger's as well.",
        "subject",
        choices=("subject", "both"),
    ),
    Knob(
        "lock_at",
        "Lock masks at",
        "At this position at the latest the masks are locked to their last three; 0 for never by position.",
        40.0,
        0.0,
        1000.0,
    ),
    Knob(
        "lock_steady",
        "Lock steady masks",
        "Lock the masks as soon as less than this share of the picture changed hands in each of the last two steps; "
        "0 for never.",
        0.02,
        0.0,
        1.0,
    ),
    Knob("lock_after", "Lock not before", "Steady masks are not locked before this position.", 20.0, 0.0, 1000.0),
    Knob(
        "morphology",
        "Mask morphology",
        "3x3 operations on the masks, in this order: dilate, erode, open, close.",
        "",
        listed=tuple(MORPHOLOGY),
    ),
    Knob(
        "overlap",
        "Where masks overlap",
        "Share equally, give the pixel to the strongest map, or share by strength.",
        "strongest",
        choices=("average", "strongest", "soft"),
    ),
    Knob(
        "uncond",
        "Unconditional",
        "branches: every LoRA's own, fused by the same masks; routed: one that wears every LoRA in its mask; "
        "shared: one without any LoRA.",
        "routed",
        choices=("routed", "branches", "shared"),
    ),
    Knob(
        "emphasis",
        "LoRA emphasis",
        "How many times guidance counts a LoRA. 1: as WebUI does, whose unconditional half wears it in full; more: "
        "that half wears less of it, which makes a subject clearer than more weight does.",
        2.0,
        1.0,
        30.0,
    ),
    Knob(
        "beside_style",
        "Subject beside a style",
        "How much of its weight a subject's LoRA keeps where a style is worn on the same pixels: two LoRAs in full "
        "break each other there.",
        0.25,
        0.0,
        1.0,
    ),
    Knob(
        "text_encoder",
        "LoRAs' text encoders",
        "Apply the text-encoder part of a LoRA to its own branch's texts, where it has one.",
        default=True,
    ),
    Knob(
        "memory",
        "Extra memory (GiB)",
        "What composing may take beyond a plain picture's peak: rows are then predicted, and differentiated, a few at "
        "a time; 0 for as much as is free.",
        1.0,
        0.0,
        1000.0,
    ),
    Knob("switch_every", "Switch every", "Steps that each LoRA is active for in the method switch.", 5, 1, 100),
)

KNOB: dict[str, Knob] = {knob.name: knob for knob in KNOBS}


def find_knob(name: str) -> Knob:
    """The knob of a name. Raises ``SettingsError`` naming those that there are."""
    if name not in KNOB:
        raise SettingsError(f"There is no setting “{name}”; known are {', '.join(KNOB)}.", field=name)
    return KNOB[name]


BETWEEN = re.compile(r"\n|,(?=[^,\n]*=)")
"""What stands between two entries of a text of knobs; javascript/clora.js splits by the same."""


def from_text(text: str) -> dict[str, Value]:
    """The knobs in ``name = value``, one per line or several set off by commas; a list's own commas stay in it.

    Raises ``SettingsError`` naming the setting and what it takes, or what is no setting.
    """
    found: dict[str, Value] = {}
    for entry in filter(None, (part.strip(" \t\r,") for part in BETWEEN.split(text))):
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not equals:
            msg = f"“{name}” is no setting with its value; write for example “temperature = 0.4”, one on each line."
            raise SettingsError(msg, field="advanced")
        if name in found:
            raise SettingsError(f"The setting “{name}” is given twice; leave one of them.", field=name)
        found[name] = find_knob(name).parse(value)
    return found


def to_text(values: Mapping[str, Value]) -> str:
    """``values`` as ``from_text`` reads them, one on each line."""
    return "\n".join(f"{name} = {plain(value)}".rstrip() for name, value in values.items())


def plain(value: Value) -> str:
    """A value in words that its knob reads back to the same."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
