"""What a job asks for: an object of named fields from the API, the panel or an infotext, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clora_ext import __version__
from clora_ext.errors import SettingsError, shown
from clora_ext.prompt import BINDING_FIELDS, MASK_WAYS, ROLES, Binding, parse_bindings, read_bindings, with_masks
from clora_ext.settings.knobs import Settings
from clora_ext.settings.profiles import build_settings, settings_schema
from clora_ext.settings.retired import is_retired

KEY = "CLoRA"
"""What the extension is called in every interface, and the prefix of its infotext keys."""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A checked request: settings and explicit bindings; ``enabled`` false asks for the host's own image."""

    enabled: bool
    settings: Settings
    bindings: tuple[Binding, ...] = ()
    show_masks: bool = False
    """Whether pictures of the masks are wanted beside the image; it changes nothing in it."""
    retired: tuple[str, ...] = ()
    """Knobs that were asked for and are no more (``settings.retired``)."""


def read_request(fields: Mapping[str, Any]) -> JobRequest:
    """Check an object of named fields: those of ``JobRequest``, ``profile``, ``method`` and every knob.

    ``bindings`` is a list of objects or the panel's text; ``masks`` is what the panel knows of them, an object of their
    keys with ``mask`` and ``mask_way``, or its JSON. Raises ``CLoRAError`` naming the field and the choices.
    """
    values = dict(fields)
    enabled = _take_flag(values, "enabled", default=True)
    show_masks = _take_flag(values, "show_masks", default=False)
    given = values.pop("bindings", ()) or ()
    bindings = parse_bindings(given) if isinstance(given, str) else read_bindings(given)
    bindings = with_masks(bindings, values.pop("masks", None) or {})
    retired = tuple(name for name in values if is_retired(name))
    known = {"enabled", "show_masks", "bindings", "masks", *settings_schema()}
    for name in values:
        if name not in known and name not in retired:
            raise SettingsError(f"There is no field “{name}”; known are {', '.join(sorted(known))}.", field=str(name))
    kept = {name: value for name, value in values.items() if name not in retired}
    return JobRequest(enabled, build_settings(**kept), bindings, show_masks, retired)


def _take_flag(values: dict[str, Any], name: str, *, default: bool) -> bool:
    value = values.pop(name, default)
    if not isinstance(value, bool):
        raise SettingsError(f"“{name}” is {shown(value)}; it must be true or false.", field=name)
    return value


def json_schema() -> dict[str, Any]:
    """JSON schema of the object that ``read_request`` takes."""
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
            "bindings": {"type": "array", "items": _binding_schema()},
            "masks": {
                "type": "object",
                "additionalProperties": _mask_schema(),
                "title": "Own masks",
                "description": (
                    "By LoRA, or by LoRA and words where it has several subjects, as in “six: cat”; "
                    "a binding may have its mask in itself."
                ),
            },
            **settings_schema(),
        },
        "additionalProperties": False,
    }


def _binding_schema() -> dict[str, Any]:
    properties: dict[str, Any] = {name: {"type": "string"} for name in BINDING_FIELDS}
    properties["weight"] = {"type": "number"}
    properties["occurrence"] = {"type": "integer", "minimum": 1}
    properties["role"] = {"type": "string", "enum": list(ROLES)}
    properties |= _mask_schema()["properties"]
    return {"type": "object", "properties": properties, "required": ["lora"], "additionalProperties": False}


def _mask_schema() -> dict[str, Any]:
    properties = {
        "mask": {"type": "string", "contentEncoding": "base64", "description": "A picture, white where it is to be."},
        "mask_way": {"type": "string", "enum": list(MASK_WAYS), "default": "fixed"},
    }
    return {"type": "object", "properties": properties, "required": ["mask"], "additionalProperties": False}
