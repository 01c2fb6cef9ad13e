"""Named settings of the user's own, kept in one JSON file in WebUI's data folder."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from modules.paths_internal import data_path

from clora_ext.errors import SettingsError
from clora_ext.settings.profiles import plain_changes
from clora_ext.settings.request import read_request
from clora_ext.settings.retired import RETIRED

FILE = "clora-presets.json"
LONGEST = 100
"""Characters of a name."""
MOST = 1000
"""Presets in the file."""

_CHANGING = Lock()
"""Two clients may save at once; each reads what the other has written."""

Preset = dict[str, Any]
"""What a preset keeps: profile, method, the knobs that differ from the profile, show_masks if it is on."""


def presets_path() -> Path:
    """Where presets are kept."""
    return Path(data_path) / FILE


def all_presets() -> dict[str, Preset]:
    """All presets by name. Raises ``SettingsError`` for a file that can not be read: nothing is thrown away."""
    path = presets_path()
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"The presets in {FILE} can not be read ({error}); repair or remove the file."
        raise SettingsError(msg, field="preset") from None
    if not isinstance(found, dict) or not all(isinstance(fields, dict) for fields in found.values()):
        msg = f"{FILE} is not an object of presets; repair or remove the file."
        raise SettingsError(msg, field="preset")
    return found


def checked_preset(fields: Mapping[str, Any]) -> Preset:
    """What a preset keeps of a request. Raises ``SettingsError``."""
    given = {name: value for name, value in fields.items() if name not in ("enabled", "bindings", "masks")}
    request = read_request(given)
    settings = request.settings
    kept = {"profile": settings.profile, "method": settings.method, **plain_changes(settings)}
    return kept | ({"show_masks": True} if request.show_masks else {})


def retired_in(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The knobs in ``fields`` that are no more."""
    return tuple(name for name in fields if name in RETIRED)


def save_preset(name: str, fields: Mapping[str, Any]) -> Preset:
    """Keep ``fields`` as ``name``, in place of an older one; gives what is kept. Raises ``SettingsError``."""
    if not name.strip() or len(name) > LONGEST:
        msg = f"A preset needs a name of 1 to {LONGEST} characters."
        raise SettingsError(msg, field="name")
    kept = checked_preset(fields)
    with _CHANGING:
        found = {**all_presets(), name.strip(): kept}
        if len(found) > MOST:
            raise SettingsError(f"There are {MOST} presets already; delete one first.", field="name")
        _write(found)
    return kept


def stored_preset(name: str) -> Preset:
    """One preset as the file has it. Raises ``SettingsError`` naming those that are there."""
    found = all_presets()
    if name not in found:
        there = ", ".join(found) or "none yet"
        raise SettingsError(f"There is no preset “{name}”; there is {there}.", field="name")
    return found[name]


def delete_preset(name: str) -> None:
    """Forget one preset. Raises ``SettingsError`` as ``stored_preset``."""
    with _CHANGING:
        checked_preset(stored_preset(name))
        _write({other: fields for other, fields in all_presets().items() if other != name})


def _write(found: Mapping[str, Any]) -> None:
    """In one move, so that a full disk or a crash leaves the old file. Raises ``SettingsError``."""
    text = json.dumps(found, ensure_ascii=False, indent=1)
    new = presets_path().with_suffix(".new")
    try:
        new.unlink(missing_ok=True)
        with new.open("x", encoding="utf-8") as file:  # follows no link
            file.write(text + "\n")
        new.replace(presets_path())
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        msg = f"The presets can not be written ({error.strerror}): see to the room and the rights of {new.parent.name}."
        raise SettingsError(msg, field="preset") from error
