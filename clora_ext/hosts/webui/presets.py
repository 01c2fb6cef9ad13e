"""Named settings of the user's own, kept in one JSON file in WebUI's data folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.paths_internal import data_path

from clora_ext.errors import SettingsError
from clora_ext.request import read

FILE = "clora-presets.json"
LONGEST = 100
"""Characters of a name."""


def path() -> Path:
    """Where presets are kept."""
    return Path(data_path) / FILE


def presets() -> dict[str, dict[str, Any]]:
    """All presets by name. Raises ``SettingsError`` for a file that can not be read: nothing is thrown away."""
    if not path().is_file():
        return {}
    try:
        found = json.loads(path().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"The presets in {FILE} can not be read ({error}); repair or remove the file."
        raise SettingsError(msg, field="preset") from None
    if not isinstance(found, dict) or not all(isinstance(fields, dict) for fields in found.values()):
        msg = f"{FILE} is not an object of presets; repair or remove the file."
        raise SettingsError(msg, field="preset")
    return found


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a preset keeps of a request: profile, method, the knobs that differ. Raises ``SettingsError``."""
    wanted = read({name: value for name, value in fields.items() if name not in ("enabled", "bindings")})
    kept = {"profile": wanted.settings.profile, "method": wanted.settings.method, **wanted.settings.changed}
    return kept | ({"show_masks": True} if wanted.show_masks else {})


def save(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Keep ``fields`` as ``name``, in place of an older one; gives what is kept. Raises ``SettingsError``."""
    if not name.strip() or len(name) > LONGEST:
        msg = f"A preset needs a name of 1 to {LONGEST} characters."
        raise SettingsError(msg, field="name")
    kept = checked(fields)
    _write({**presets(), name.strip(): kept})
    return kept


def get(name: str) -> dict[str, Any]:
    """One preset. Raises ``SettingsError`` naming those that are there."""
    found = presets()
    if name not in found:
        there = ", ".join(found) or "none yet"
        raise SettingsError(f"There is no preset “{name}”; there is {there}.", field="name")
    return checked(found[name])


def delete(name: str) -> None:
    """Forget one preset. Raises ``SettingsError`` as ``get``."""
    get(name)
    _write({other: fields for other, fields in presets().items() if other != name})


def _write(found: Mapping[str, Any]) -> None:
    """In one move, so that a full disk or a crash leaves the old file."""
    new = path().with_suffix(".new")
    new.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    new.replace(path())
