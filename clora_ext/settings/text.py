"""Knobs as text: ``name = value``, one on each line or set off by commas."""

import re
from collections.abc import Mapping
from typing import Any

from clora_ext.errors import SettingsError
from clora_ext.settings.knobs import KNOB, find_knob
from clora_ext.settings.retired import is_retired

BETWEEN = re.compile(r"\n|,(?=[^,\n]*=)")
"""What stands between two entries; a list's own commas stay in it. javascript/clora.js splits by the same."""


def parse_text(text: str) -> dict[str, Any]:
    """The knobs in ``text``, by name; entries of retired knobs as they stand.

    Raises ``SettingsError`` naming the setting and what it takes, or what is no setting.
    """
    found: dict[str, Any] = {}
    for part in BETWEEN.split(text):
        entry = part.strip(" \t\r,")
        if entry:
            name, value = _read_entry(entry)
            if name in found:
                raise SettingsError(f"The setting “{name}” is given twice; leave one of them.", field=name)
            found[name] = value if is_retired(name) else find_knob(name).parse(value)
    return found


def _read_entry(entry: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not equals:
        example = "write for example “temperature = 0.4”, one on each line"
        msg = f"“{entry.strip()}” is no setting with its value; {example}."
        raise SettingsError(msg, field="advanced")
    return name.strip(), value.strip()


def format_text(values: Mapping[str, Any]) -> str:
    """``values`` as ``parse_text`` reads them, one on each line."""
    lines = [f"{name} = {value_text(name, value)}" for name, value in values.items()]
    return "\n".join(line.rstrip() for line in lines)


def value_text(name: str, value: Any) -> str:
    """The value of the knob ``name`` in words that it reads back to the same; a retired knob's as it is."""
    return str(value) if is_retired(name) else KNOB[name].kind.text(value)
