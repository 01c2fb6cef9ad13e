"""What the host hands over of the panel, and the request that it makes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clora_ext.hosts.pictures import check_masks
from clora_ext.hosts.webui.options import with_defaults
from clora_ext.hosts.webui.page.fields_text import (
    PANEL_FIELDS,
    PRESET_FIELDS,
    expand_advanced,
    read_fields,
    request_to_fields,
)
from clora_ext.settings.infotext import from_infotext, to_infotext
from clora_ext.settings.request import JobRequest, read_request


def request_of(fields: Mapping[str, Any]) -> JobRequest:
    """The request of an object of named fields, with the settings page's values for what it leaves open.

    Raises ``CLoRAError`` naming the field and the choices.
    """
    request = read_request(with_defaults(fields))
    check_masks(request.bindings)
    return request


def args_to_fields(args: Sequence[Any]) -> dict[str, Any]:
    """The object of named fields from what the host hands over: the panel's values, or an API's object in front.

    Values that are missing are not named. Raises ``SettingsError`` for a text that can not be read.
    """
    for arg in args:
        if isinstance(arg, dict):
            return arg
    given = dict(zip(PANEL_FIELDS, args, strict=False))
    return expand_advanced({**read_fields(given.pop("fields", "")), **given})


def is_off(args: Sequence[Any]) -> bool:
    """Whether the panel's values say that it is switched off."""
    return bool(args) and args[0] is False


def settings_fields(request: JobRequest) -> dict[str, Any]:
    """What stands in the fields of a preset for a request, but for whether masks are shown."""
    values = request_to_fields(from_infotext(to_infotext(replace(request, bindings=()))) or {})
    return {name: values[name] for name in PRESET_FIELDS if name != "show_masks"}
