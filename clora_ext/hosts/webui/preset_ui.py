"""The panel's presets: load, save, delete, and the same as JSON to copy and to paste."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from clora_ext.errors import CLoRAError, SettingsError
from clora_ext.hosts.webui import presets
from clora_ext.request import read


def build(named: Callable[[str], dict[str, str]], made: Mapping[str, Any]) -> None:
    """Add the accordion; ``made`` are the components that a preset fills, by field."""
    with gr.Accordion("Presets", open=False, **named("presets")):
        with gr.Row():
            name = gr.Dropdown(
                _names(), label="Preset", allow_custom_value=True, value="", **named("preset"),
                info="Choose one, or type a name to save under.",
            )  # fmt: skip
            buttons = {
                what: gr.Button(label, size="sm", **named(f"preset_{what}"))
                for what, label in {"load": "Load", "save": "Save", "delete": "Delete", "reset": "Reset all"}.items()
            }
        text = gr.Textbox(
            value="", label="Preset as JSON", lines=2, **named("preset_json"),
            info="What was loaded or saved, to copy; or paste one here and apply it.",
        )  # fmt: skip
        apply = gr.Button("Apply the JSON", size="sm", **named("preset_apply"))
        told = gr.Textbox(value="", label="Presets say", interactive=False, lines=1, **named("preset_told"))
    for component in (name, text, told):
        component.do_not_save_to_config = True
    everything, fields = list(made.values()), list(made)
    quiet = {"show_progress": False, "queue": False}

    def fill(kept: Mapping[str, Any]) -> list[Any]:
        request = read(kept)
        values = {
            "profile": request.settings.profile, "method": request.settings.method,
            "show_masks": request.show_masks, **request.settings.values,
        }  # fmt: skip
        return [values[field] for field in fields]

    def load(wanted: str) -> list[Any]:
        kept = presets.get(wanted)
        return [*fill(kept), _json(kept), f"Loaded “{wanted}”."]

    def apply_json(pasted: str) -> list[Any]:
        kept = presets.checked(_object(pasted))
        return [*fill(kept), _json(kept), "Applied."]

    def reset() -> list[Any]:
        return [*fill({}), "", "All settings are as at first."]

    def save(wanted: str, *values: Any) -> list[Any]:
        kept = presets.save(wanted or "", dict(zip(fields, values, strict=True)))
        return [gr.update(choices=_names()), _json(kept), f"Saved “{wanted.strip()}”."]

    def delete(wanted: str) -> list[Any]:
        presets.delete(wanted)
        return [gr.update(choices=_names(), value=""), "", f"Deleted “{wanted}”."]

    filled, listed = [*everything, text, told], [name, text, told]
    buttons["load"].click(_telling(load, filled), inputs=[name], outputs=filled, **quiet)
    apply.click(_telling(apply_json, filled), inputs=[text], outputs=filled, **quiet)
    buttons["reset"].click(_telling(reset, filled), inputs=[], outputs=filled, **quiet)
    buttons["save"].click(_telling(save, listed), inputs=[name, *everything], outputs=listed, **quiet)
    buttons["delete"].click(_telling(delete, listed), inputs=[name], outputs=listed, **quiet)


def _telling(action: Callable[..., list[Any]], outputs: list[Any]) -> Callable[..., list[Any]]:
    """``action``, with what went wrong in the last of ``outputs`` and the others left alone."""

    def safe(*values: Any) -> list[Any]:
        try:
            return action(*values)
        except CLoRAError as error:
            return [*(gr.update() for _ in outputs[1:]), error.message]

    return safe


def _names() -> list[str]:
    try:
        return list(presets.presets())
    except CLoRAError:
        return []  # loading and saving say what is wrong with the file


def _json(kept: Mapping[str, Any]) -> str:
    return json.dumps(kept, ensure_ascii=False)


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        msg = 'That is no JSON object; a preset looks like {"profile": "balanced", "step_size": 4}.'
        raise SettingsError(msg, field="preset")
    return found
