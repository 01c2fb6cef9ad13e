"""The panel's fields as the host hands their values over, and the request that they make."""

from collections.abc import Mapping, Sequence
from typing import Any

from clora_ext.errors import SettingsError
from clora_ext.knobs import KNOB, KNOBS, from_text, to_text
from clora_ext.prompt import format_bindings
from clora_ext.request import read

MAIN = ("step_size", "update_until", "mask_threshold", "lock_at")
"""The knobs that stand in sight; the others are entries of the text field “Advanced settings”."""

FIELDS = ("enabled", "show_masks", "profile", "method", "bindings", *MAIN, "advanced")
"""All fields in the order in which the host hands their values over."""

PRESET = tuple(name for name in FIELDS if name not in ("enabled", "bindings"))
"""The fields that a preset fills."""


def named(args: Sequence[Any]) -> Mapping[str, Any]:
    """The object of named fields from what the host hands over: the panel's values, or an API's object in front.

    Values that are missing are not named. Raises ``SettingsError`` for a bad text of advanced settings.
    """
    found = next((arg for arg in args if isinstance(arg, dict)), None)
    return spread(dict(zip(FIELDS, args, strict=False))) if found is None else found


def off(args: Sequence[Any]) -> bool:
    """Whether the panel's values say that it is switched off."""
    return bool(args) and args[0] is False


def spread(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by field with the text of advanced settings taken apart. Raises ``SettingsError``."""
    text = values.get("advanced", "")
    if not isinstance(text, str):
        raise SettingsError(f"“advanced” is {text!r}; it must be text such as “temperature = 0.4”.", field="advanced")
    knobs = from_text(text)
    for name in MAIN:
        if name in knobs:
            msg = f"“{KNOB[name].label}” has a field of its own; take “{name}” out of the advanced settings."
            raise SettingsError(msg, field=name)
    return {name: value for name, value in values.items() if name != "advanced"} | knobs


def filled(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in every field for an object of named fields. Raises ``CLoRAError``."""
    request = read(wanted)
    made = request.settings
    advanced = {knob.name: made[knob.name] for knob in KNOBS if knob.name in made.changed and knob.name not in MAIN}
    return {
        "enabled": request.enabled, "bindings": format_bindings(request.bindings), "profile": made.profile,
        "method": made.method, "show_masks": request.show_masks, **{name: made[name] for name in MAIN},
        "advanced": to_text(advanced),
    }  # fmt: skip
