"""What the page's script asks for, one JSON action at a time: a LoRA's row is changed, or a preset is used."""

import json
from collections.abc import Mapping
from typing import Any

from clora_ext.errors import CLoRAError, SettingsError
from clora_ext.hosts.webui import presets
from clora_ext.hosts.webui.fields import PRESET, filled, spread
from clora_ext.prompt import edit_binding, format_bindings, parse_bindings

Changed = dict[str, Any]
"""New values by field, the prompt among them; what is not there stays."""


def act(action: str, fields: Mapping[str, Any]) -> tuple[Changed, dict[str, Any]]:
    """Do one action on ``fields``, the prompt among them; gives their new values and what the script is told.

    ``{"lora": name, "changes": {field: value}}`` is written into prompt or bindings. ``{"preset": what, "name": ...,
    "text": ...}`` lists, loads, saves, deletes, applies (a JSON text) or resets. What goes wrong is ``told``.
    """
    wanted = json.loads(action)
    try:
        return _preset(wanted, fields) if "preset" in wanted else _edit(wanted, fields)
    except CLoRAError as error:
        return {}, {"told": error.message, "wrong": True}


def _edit(wanted: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[Changed, dict[str, Any]]:
    bindings = parse_bindings(fields["bindings"])
    written, left = edit_binding(fields["prompt"], bindings, [wanted["lora"]], wanted["changes"])
    return {"prompt": written} | ({} if left == bindings else {"bindings": format_bindings(left)}), {}


def _preset(wanted: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[Changed, dict[str, Any]]:
    what, name = wanted["preset"], wanted.get("name", "").strip()
    changed: Changed = {}
    kept: Mapping[str, Any] | None = None
    told = ""
    if what == "load":
        kept, told = presets.get(name), f"Loaded “{name}”."
    elif what == "apply":
        kept, told = presets.checked(_object(wanted["text"])), "Applied."
    elif what == "reset":
        kept, told = {}, "All settings are as at first."
    elif what == "save":
        kept = presets.save(name, spread({field: fields[field] for field in PRESET}))
        told = f"Saved “{name}”."
    elif what == "delete":
        presets.delete(name)
        told = f"Deleted “{name}”."
    if what in ("load", "apply", "reset"):
        values = filled(kept)
        changed = {field: values[field] for field in PRESET}
    text = "" if not kept else json.dumps(kept, ensure_ascii=False)
    return changed, {"presets": list(presets.presets()), "text": text, "told": told}


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        msg = 'That is no JSON object; a preset looks like {"profile": "balanced", "step_size": 4}.'
        raise SettingsError(msg, field="preset")
    return found
