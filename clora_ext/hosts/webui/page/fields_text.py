"""The panel's fields and the one text that the host has for them. It knows no host."""

import json
from collections.abc import Mapping
from typing import Any

from clora_ext.errors import SettingsError, shown
from clora_ext.prompt import format_bindings
from clora_ext.settings.knobs import KNOB
from clora_ext.settings.profiles import DEFAULT, changed_values
from clora_ext.settings.request import read_request
from clora_ext.settings.text import format_text, parse_text

MAIN = ("step_size", "update_until", "mask_threshold", "lock_at")
"""The knobs that stand in sight; the others are entries of the text “Advanced settings”."""

FIELDS = ("show_masks", "profile", "method", "bindings", *MAIN, "advanced")
"""What the page's script draws a field for; the host has them as one text, for each component slows its page down."""

PANEL_FIELDS = ("enabled", "fields", "masks")
"""The components in the order in which the host hands their values over; ``fields`` is the text of ``FIELDS``."""

PRESET_FIELDS = tuple(name for name in FIELDS if name != "bindings")
"""The fields that a preset fills."""


def read_fields(text: Any) -> dict[str, Any]:
    """The fields in the panel's text, by name; what is as at first is not there. Raises ``SettingsError``."""
    try:
        found = json.loads(text or "{}")
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        example = '{"profile": "balanced"}'
        msg = f"The settings {shown(text)} can not be read: write an object such as {example}, or nothing."
        raise SettingsError(msg, field="fields")
    for name in found:
        if name not in FIELDS:
            raise SettingsError(f"There is no field “{name}”; known are {', '.join(FIELDS)}.", field=str(name))
    return found


def all_fields(text: str) -> dict[str, Any]:
    """What stands in every one of ``FIELDS`` for the panel's text. Raises ``CLoRAError``."""
    given = read_fields(text)
    return {**_first_fields(given.get("profile", DEFAULT)), **given}


def format_fields(values: Mapping[str, Any]) -> str:
    """The panel's text for what stands in ``FIELDS``; empty where all is as at first. Raises ``CLoRAError``."""
    first = _first_fields(values.get("profile", DEFAULT)) | {"profile": DEFAULT}
    changed = {name: values[name] for name in FIELDS if name in values and values[name] != first[name]}
    return json.dumps(changed, ensure_ascii=False, separators=(",", ":")) if changed else ""


def _first_fields(profile: str) -> dict[str, Any]:
    values = request_to_fields({"profile": profile})
    return {name: values[name] for name in FIELDS}


def expand_advanced(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by field with the text of advanced settings taken apart. Raises ``SettingsError``."""
    text = values.get("advanced", "")
    if not isinstance(text, str):
        msg = f"“advanced” is {shown(text)}; it must be text such as “temperature = 0.4”."
        raise SettingsError(msg, field="advanced")
    advanced = parse_text(text)
    for name in MAIN:
        if name in advanced:
            msg = f"“{KNOB[name].label}” has a field of its own; take “{name}” out of the advanced settings."
            raise SettingsError(msg, field=name)
    others = {name: value for name, value in values.items() if name != "advanced"}
    return others | advanced


def request_to_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in every field of the panel for an object of named fields. Raises ``CLoRAError``.

    Retired knobs stay in the text of advanced settings, so that the job tells that it ignores them.
    """
    request = read_request(fields)
    settings = request.settings
    changed = changed_values(settings)
    advanced = {name: value for name, value in changed.items() if name not in MAIN}
    advanced |= {name: fields[name] for name in request.retired}
    values: dict[str, Any] = {
        "enabled": request.enabled,
        "show_masks": request.show_masks,
        "profile": settings.profile,
        "method": settings.method,
        "bindings": format_bindings(request.bindings),
        "advanced": format_text(advanced),
    }
    return values | {name: getattr(settings, name) for name in MAIN}


_LABELS = {
    "show_masks": "Show masks",
    "profile": "Profile",
    "method": "Method",
    "bindings": "Bindings",
    **{name: KNOB[name].label for name in MAIN},
    "advanced": "Advanced settings",
}


def fields_of_defaults(saved: Mapping[str, Any], tab: str) -> str:
    """The panel's text for the user's own defaults in WebUI's ui-config.json, where each once had its label.

    Raises ``CLoRAError`` for what can not be read any more.
    """
    known = {name: saved.get(f"customscript/clora.py/{tab}/{_LABELS[name]}/value") for name in FIELDS}
    given = {name: value for name, value in known.items() if value is not None}
    read_request({name: value for name, value in given.items() if name != "advanced"})
    return format_fields(given) if given else ""
