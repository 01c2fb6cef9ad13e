"""What a job asks for: an object of named fields from the API, the panel or an infotext, checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clora_ext import __version__
from clora_ext.errors import SettingsError
from clora_ext.knobs import plain
from clora_ext.prompt import BINDING_FIELDS, ROLES, Binding, parse_bindings, read_bindings
from clora_ext.settings import KNOBS, Settings, profile_value, schema, settings

KEY = "CLoRA"
"""Prefix of every infotext key."""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A checked request: settings and explicit bindings; ``enabled`` false asks for the host's own image.

    ``show_masks`` asks for pictures of the masks beside the image; it changes nothing in it.
    """

    enabled: bool
    settings: Settings
    bindings: tuple[Binding, ...] = ()
    show_masks: bool = False


def read(fields: Mapping[str, Any]) -> JobRequest:
    """Check an object of named fields: those of ``JobRequest``, ``profile``, ``method`` and every knob.

    ``bindings`` is a list of objects or the panel's text. Raises ``CLoRAError`` naming the field and the choices.
    """
    knobs = dict(fields)
    enabled, show_masks = _flag(knobs, "enabled", default=True), _flag(knobs, "show_masks", default=False)
    given = knobs.pop("bindings", ()) or ()
    bindings = parse_bindings(given) if isinstance(given, str) else read_bindings(given)
    known = {"enabled", "show_masks", "bindings", *schema()}
    for name in knobs:
        if name not in known:
            raise SettingsError(f"There is no field “{name}”; known are {', '.join(sorted(known))}.", field=str(name))
    return JobRequest(enabled, settings(**knobs), bindings, show_masks)


def _flag(fields: dict[str, Any], name: str, *, default: bool) -> bool:
    value = fields.pop(name, default)
    if not isinstance(value, bool):
        raise SettingsError(f"“{name}” is {value!r}; it must be true or false.", field=name)
    return value


def json_schema() -> dict[str, Any]:
    """JSON schema of the object that ``read`` takes."""
    text = {"type": "string"}
    kinds: dict[str, Any] = dict.fromkeys(BINDING_FIELDS, text)
    kinds |= {"weight": {"type": "number"}, "occurrence": {"type": "integer", "minimum": 1}}
    kinds["role"] = {"type": "string", "enum": list(ROLES)}
    binding = {"type": "object", "properties": kinds, "required": ["lora"], "additionalProperties": False}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{KEY} {__version__}",
        "type": "object",
        "properties": {
            "enabled": {"type": "boolean", "default": True},
            "show_masks": {
                "type": "boolean",
                "default": False,
                "title": "Show masks",
                "description": "Add a picture of who draws what, with each subject's attention, for every image.",
            },
            "bindings": {"type": "array", "items": binding},
            **schema(),
        },
        "additionalProperties": False,
    }


# -- infotext ----------------------------------------------------------------------------------------------------


def key(name: str) -> str:
    """The infotext key of a field."""
    return f"{KEY} {name.replace('_', ' ')}"


def to_infotext(request: JobRequest) -> dict[str, str]:
    """What has to be written to make the image again: profile, method, changed knobs, explicit bindings."""
    wanted = request.settings
    words = {key("version"): __version__, key("profile"): wanted.profile, key("method"): wanted.method}
    words |= {key(name): _written(value) for name, value in wanted.changed.items()}
    if request.bindings:
        objects = [
            {name: value for name in BINDING_FIELDS if (value := getattr(binding, name)) is not None}
            for binding in request.bindings
        ]
        words[key("bindings")] = json.dumps(objects, ensure_ascii=False)
    return words


def from_infotext(words: Mapping[str, str]) -> dict[str, Any] | None:
    """The fields of ``read`` from an infotext's pairs; None when the image was made without us."""
    if key("profile") not in words:
        return None
    profile = words[key("profile")]
    fields: dict[str, Any] = {"enabled": True, "profile": profile, "method": words.get(key("method"), "clora")}
    for knob in KNOBS:
        text = words.get(key(knob.name))
        fields[knob.name] = profile_value(profile, knob.name) if text is None else knob.parse(_blank(text))
    fields["bindings"] = json.loads(words.get(key("bindings"), "[]"))
    return fields


def _written(value: Any) -> str:
    """A value as infotext; an empty list is written out, since an empty value can not be."""
    return "none" if value == "" else plain(value)


def _blank(text: str) -> str:
    return "" if text == "none" else text
