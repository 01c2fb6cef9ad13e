"""Profiles, methods and one job's values of all knobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clora_ext.errors import SettingsError
from clora_ext.knobs import KNOB, KNOBS, Knob, Value, find_knob

METHODS: dict[str, str] = {
    "clora": "one branch per LoRA, latent updates, masks",
    "masks": "one branch per LoRA and masks, no latent update",
    "merge": "WebUI's own image: all LoRAs everywhere",
    "composite": "the average of the LoRAs' predictions at every step",
    "switch": "one LoRA at a time, in turn",
}
MASKED = ("clora", "masks")
"""The methods that read cross-attention maps."""


_AUTHORS: dict[str, Value] = {
    "count_by": "step",
    "update_until": 30.0,
    "step_size": 20.0,
    "step_decay": "constant",
    "step_clip": 0.0,
    "uncond": "branches",
    "emphasis": 1.0,
    "beside_style": 1.0,
    "overlap": "average",
    "maps_from": "both",
    "map_level": "quarter",
    "word_maps": "each",
    "mask_threshold": 0.3,
    "mask_tokens": "both",
    "lock_at": 0.0,
    "lock_steady": 0.0,
    "route": False,
    "memory": 0.0,
}
_PAPER = _AUTHORS | {
    "count_by": "step50",
    "update_until": 25.0,
    "rounds_at": "0, 10, 20",
    "maps_from": "cond",
    "uncond": "shared",
}

_FAST: dict[str, Value] = {"compose_by": "row"}

PROFILES: dict[str, dict[str, Value]] = {"balanced": {}, "fast": _FAST, "authors": _AUTHORS, "paper": _PAPER}
"""Named sets of values; what a profile leaves out has the knob's default."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A profile, a method and the values of all knobs. Build it with ``settings``; it can not hold a bad value."""

    profile: str = "balanced"
    method: str = "clora"
    values: Mapping[str, Value] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def masked(self) -> bool:
        """Whether the method reads cross-attention maps."""
        return self.method in MASKED

    @property
    def routes(self) -> bool:
        """Whether there may be rows whose pixels wear different LoRAs."""
        return self.masked and (self["route"] or self["compose_by"] == "row" or self["uncond"] == "routed")

    @property
    def changed(self) -> dict[str, Value]:
        """The knobs that differ from the profile: what has to be written down to make the image again."""
        return {name: value for name, value in self.values.items() if value != profile_value(self.profile, name)}

    @property
    def rounds_at(self) -> tuple[float, ...]:
        """``rounds_at`` as numbers."""
        return tuple(float(word) for word in _words(self["rounds_at"]))

    @property
    def morphology(self) -> tuple[str, ...]:
        """``morphology`` as words."""
        return _words(self["morphology"])


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def profile_value(profile: str, name: str) -> Value:
    """What ``profile`` says of the knob ``name``."""
    return PROFILES[profile].get(name, KNOB[name].default)


def settings(profile: str = "balanced", method: str = "clora", **knobs: Any) -> Settings:
    """Check and complete a request. Raises ``SettingsError`` naming the field and the choices."""
    for name, value, known in (("profile", profile, PROFILES), ("method", method, METHODS)):
        if not isinstance(value, str) or value not in known:
            raise SettingsError(f"“{name}” is {value!r}; it must be one of {', '.join(known)}.", field=name)
    for name in knobs:
        find_knob(name)
    values = {
        knob.name: knob.parse(knobs[knob.name]) if knob.name in knobs else profile_value(profile, knob.name)
        for knob in KNOBS
    }
    return Settings(profile, method, values)


def schema() -> dict[str, Any]:
    """JSON schema of profile, method and every knob."""
    properties: dict[str, Any] = {
        "profile": {"type": "string", "enum": list(PROFILES), "default": "balanced"},
        "method": {"type": "string", "enum": list(METHODS), "default": "clora"},
    }
    for knob in KNOBS:
        kind = {bool: "boolean", int: "integer", float: "number", str: "string"}[type(knob.default)]
        entry: dict[str, Any] = {"type": kind, "title": knob.label, "description": knob.help, "default": knob.default}
        if knob.choices:
            entry["enum"] = list(knob.choices)
        if knob.low is not None:
            entry |= {"minimum": knob.low, "maximum": knob.high}
        properties[knob.name] = entry
    return properties


__all__ = ["KNOB", "KNOBS", "METHODS", "PROFILES", "Knob", "Settings", "profile_value", "schema", "settings"]
