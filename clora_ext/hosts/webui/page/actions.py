"""What the page's script asks for, one JSON action at a time: a LoRA's row is changed, a preset is used, or something
that changes no field is answered.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from clora_ext.errors import CLoRAError, SettingsError
from clora_ext.hosts.webui.page import presets
from clora_ext.hosts.webui.page.fields_text import (
    PRESET_FIELDS,
    all_fields,
    expand_advanced,
    format_fields,
    read_fields,
    request_to_fields,
)
from clora_ext.hosts.webui.page.row_edits import edit_row, move_bindings
from clora_ext.settings.retired import retired_note

NewValues = dict[str, Any]
"""New values by field; what is not there stays."""
Told = dict[str, Any]
"""What the script is told."""

Answers = Mapping[str, Callable[[Mapping[str, Any]], Told]]
"""What is answered without a field, by the name that is in an action; each is given the action."""


def act_on(action: str, prompt: str, text: str, answers: Answers) -> tuple[str | None, Told]:
    """``act`` on the panel's ``text`` of fields; gives its new text, None where it stays, and what the script is told.

    A new text says whether masks are shown: where that is not said, as in one from a picture, it stays as it is.
    """
    try:
        values = all_fields(text)
    except CLoRAError as error:
        return None, {"told": error.message, "wrong": True, "asked": json.loads(action).get("asked")}
    changed, told = act(action, {"prompt": prompt, **values}, answers)
    if not changed:
        return None, told
    new = format_fields(values | changed)
    return new if "show_masks" not in changed else _saying(new, changed["show_masks"]), told


def _saying(text: str, show_masks: object) -> str:
    return json.dumps({**read_fields(text), "show_masks": show_masks}, ensure_ascii=False, separators=(",", ":"))


def act(action: str, fields: Mapping[str, Any], answers: Answers) -> tuple[NewValues, Told]:
    """Do one action on ``fields``, the prompt among them; gives their new values and what the script is told.

    ``{"lora": name, "changes": {field: value}}`` changes what is said of a LoRA, with ``losers`` of others too, and
    with ``add`` the prompt; ``{"gone": ...}`` with its ``names`` takes its bindings out, ``{"back": text}`` puts such
    ones in. These answer edits, which the script makes: the fields may have been typed in since.
    ``{"preset": what, "name": ..., "text": ...}`` lists, loads, saves, deletes or applies (a JSON text). An action with
    a name of ``answers`` asks that one, which may fill fields of a preset, and ``{"settings": values}`` puts back what
    was in them. What goes wrong is ``told``, and ``asked`` is the action's own.
    """
    wanted = json.loads(action)
    try:
        changed, told = _do(wanted, fields, answers)
    except CLoRAError as error:
        changed, told = {}, {"told": error.message, "wrong": True}
    return changed, {**told, "asked": wanted.get("asked")}


def _do(wanted: Mapping[str, Any], fields: Mapping[str, Any], answers: Answers) -> tuple[NewValues, Told]:
    for name in answers.keys() & wanted.keys():
        return _filling(answers[name](wanted), fields)
    if "settings" in wanted:
        return {name: value for name, value in wanted["settings"].items() if name in PRESET_FIELDS}, {}
    if "preset" in wanted:
        return _use_preset(wanted, fields)
    if "lora" in wanted:
        return {}, edit_row(wanted, fields["prompt"], fields["bindings"])
    return {}, move_bindings(wanted, fields["bindings"])


def _filling(told: Told, fields: Mapping[str, Any]) -> tuple[NewValues, Told]:
    """An answer whose ``fields``, if it has any, are filled in; it is told what ``was`` there."""
    changed = told.get("fields", {})
    was = {name: fields[name] for name in changed}
    return changed, {**told, "was": was} if changed else told


def _use_preset(wanted: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[NewValues, Told]:
    what, name = wanted["preset"], wanted.get("name", "").strip()
    match what:
        case "load":
            stored = presets.stored_preset(name)
            return _filled(stored, f"Loaded “{name}”.")
        case "apply":
            return _filled(_object(wanted["text"]), "Applied.")
        case "save":
            kept = presets.save_preset(name, expand_advanced({field: fields[field] for field in PRESET_FIELDS}))
            return {}, _told(f"Saved “{name}”.", kept)
        case "delete":
            presets.delete_preset(name)
            return {}, _told(f"Deleted “{name}”.")
        case _:
            return {}, _told("")


def _filled(preset: Mapping[str, Any], told: str) -> tuple[NewValues, Told]:
    """The panel's fields as a preset wants them."""
    kept = presets.checked_preset(preset)
    values = request_to_fields(kept)
    notes = [retired_note(name) for name in presets.retired_in(preset)]
    return {field: values[field] for field in PRESET_FIELDS}, _told(" ".join([told, *notes]), kept)


def _told(words: str, preset: Mapping[str, Any] | None = None) -> Told:
    text = json.dumps(preset, ensure_ascii=False) if preset else ""
    return {"presets": list(presets.all_presets()), "text": text, "told": words}


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        msg = 'That is no JSON object; a preset looks like {"profile": "balanced", "step_size": 4}.'
        raise SettingsError(msg, field="preset")
    return found
