"""The panel's components, by what they are for."""

import json
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from clora_ext.hosts.webui.options import with_defaults
from clora_ext.hosts.webui.page.fields_text import MAIN
from clora_ext.hosts.webui.page.own_defaults import own_defaults
from clora_ext.settings.knobs import KNOB, POSITION
from clora_ext.settings.profiles import DEFAULT, METHODS, PROFILES, profile_value, settings_schema
from clora_ext.settings.request import KEY

PROFILES_TOLD = (
    "Profile fast: one picture for all LoRAs from the start; balanced: a picture for each until the masks are found; "
    "authors, paper: as published."
)
Components = dict[str, Any]
"""Gradio's components by what they are for."""


def hidden_text(label: str, elem_id: str, value: str = "") -> Any:
    """A text that only the script reads and writes. Of as many lines as it may have: gradio measures no height then,
    for which the whole page would be laid out.
    """
    return gr.Textbox(value=value, label=label, visible=False, lines=2, max_lines=2, elem_id=elem_id)


def make_components(tab: str) -> Components:
    """All components of the panel of ``tab``; the script draws its fields and puts them in the place of these."""
    made: Components = {}

    def called(name: str) -> str:
        return f"clora_{tab}_{name}"

    with InputAccordion(value=False, label=KEY, elem_id=called("enabled")) as made["enabled"]:
        made["line"] = gr.Textbox(
            value="", label="What will happen", interactive=False, lines=2, max_lines=2, elem_id=called("line")
        )
        made["check"] = gr.Button("Check the prompt", size="sm", elem_id=called("check"))
        made["fields"] = gr.Textbox(
            value=own_defaults(tab), label="Settings of CLoRA", lines=3, max_lines=3, elem_id=called("fields"),
            placeholder='{"profile": "balanced", "bindings": "tuxcat: cat"}',
        )  # fmt: skip
        made["masks"] = hidden_text("Own masks", called("masks"))
        made["view"] = hidden_text("View", called("view"), _words())
        made["edit"] = gr.Button(visible=False, elem_id=called("edit"))
    for name in ("line", "view", "masks"):
        made[name].do_not_save_to_config = True
    return made


def _words() -> str:
    """For the script: the schema of every knob, what each profile says of it, and the words of its fields."""
    schema = settings_schema()
    knobs = {name: schema[name] | {"main": name in MAIN} for name in KNOB}
    for name in MAIN:
        counted = KNOB[name].kind is POSITION  # percent, but for counted steps
        knobs[name] |= {"maximum": 100 if counted else schema[name]["maximum"], "step": 1 if counted else 0.01}
    values: dict[str, dict[str, Any]] = {}
    for profile in PROFILES:
        page = with_defaults({"profile": profile})
        values[profile] = {name: page.get(name, profile_value(profile, name)) for name in KNOB}
    told = {
        "knobs": knobs, "values": values, "default": DEFAULT, "about_profiles": PROFILES_TOLD, "methods": list(METHODS),
        "about_methods": "; ".join(f"{name}: {text}" for name, text in METHODS.items()),
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False)
