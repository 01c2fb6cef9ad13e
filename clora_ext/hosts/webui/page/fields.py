"""The panel's fields as the host hands their values over, and the request that they make."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clora_ext.errors import SettingsError, shown
from clora_ext.hosts.pictures import check_masks
from clora_ext.hosts.webui.options import with_defaults
from clora_ext.prompt import format_bindings
from clora_ext.settings.infotext import from_infotext, to_infotext
from clora_ext.settings.knobs import KNOB
from clora_ext.settings.profiles import changed_values
from clora_ext.settings.request import JobRequest, read_request
from clora_ext.settings.text import BETWEEN, format_text, parse_text

MAIN = ("step_size", "update_until", "mask_threshold", "lock_at")
"""The knobs that stand in sight; the others are entries of the text field “Advanced settings”."""

PANEL_FIELDS = ("enabled", "show_masks", "profile", "method", "bindings", *MAIN, "advanced", "masks")
"""All fields in the order in which the host hands their values over."""

PRESET_FIELDS = tuple(name for name in PANEL_FIELDS if name not in ("enabled", "bindings", "masks"))
"""The fields that a preset fills."""


def request_of(fields: Mapping[str, Any]) -> JobRequest:
    """The request of an object of named fields, with the settings page's values for what it leaves open.

    Raises ``CLoRAError`` naming the field and the choices.
    """
    request = read_request(with_defaults(fields))
    check_masks(request.bindings)
    return request


def args_to_fields(args: Sequence[Any]) -> dict[str, Any]:
    """The object of named fields from what the host hands over: the panel's values, or an API's object in front.

    Values that are missing are not named. Raises ``SettingsError`` for a bad text of advanced settings.
    """
    for arg in args:
        if isinstance(arg, dict):
            return arg
    return expand_advanced(dict(zip(PANEL_FIELDS, args, strict=False)))


def is_off(args: Sequence[Any]) -> bool:
    """Whether the panel's values say that it is switched off."""
    return bool(args) and args[0] is False


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


def settings_fields(request: JobRequest) -> dict[str, Any]:
    """What stands in the fields of a preset for a request, but for whether masks are shown."""
    values = request_to_fields(from_infotext(to_infotext(replace(request, bindings=()))) or {})
    return {name: values[name] for name in PRESET_FIELDS if name != "show_masks"}


def told_turns(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The knobs that stand in other places ``after`` than ``before``, both by field, as HTML; empty for none.

    What can be translated is an element of its own, as the host's localization wants it.
    """
    turned = [_turn(name, before[name], after[name]) for name in MAIN if before[name] != after[name]]
    dropped = [entry.strip() for entry in BETWEEN.split(before["advanced"]) if entry.strip()]
    told = [f"{_element('Turned by the profile:')} {', '.join(turned)}."] if turned else []
    if dropped:
        told.append(f"{_element('Dropped:')} {_element(', '.join(dropped))}.")
    return " ".join(told)


def _turn(name: str, before: float, after: float) -> str:
    return f"{_element(KNOB[name].label)} {before:g} → {after:g}"


def _element(text: str) -> str:
    return f"<span>{html.escape(text)}</span>"
