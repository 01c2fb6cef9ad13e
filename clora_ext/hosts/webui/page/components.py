"""The panel's components, by what they are for."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from clora_ext.hosts.webui.options import option, with_defaults
from clora_ext.hosts.webui.page.fields import MAIN
from clora_ext.settings.knobs import KNOB, POSITION
from clora_ext.settings.profiles import DEFAULT, METHODS, PROFILES, profile_value, settings_schema
from clora_ext.settings.request import KEY

PROFILES_TOLD = (
    "Profile fast: one picture for all LoRAs from the start; balanced: a picture for each until the masks are found; "
    "authors, paper: as published."
)
Components = dict[str, Any]
"""Gradio's components by what they are for."""


def make_components(tab: str) -> Components:
    """All components of the panel of ``tab``."""
    made: Components = {}

    def called(name: str) -> str:
        return f"clora_{tab}_{name}"

    with InputAccordion(value=False, label=KEY, elem_id=called("enabled")) as made["enabled"]:
        made["line"] = gr.Textbox(
            value="", label="What will happen", interactive=False, lines=1, elem_id=called("line")
        )
        made["check"] = gr.Button("Check the prompt", size="sm", elem_id=called("check"))
        _first_choices(made, called)
        with gr.Accordion("More settings", open=False, elem_id=called("more_box")):
            _more_settings(made, called)
        made["masks"] = gr.Textbox(value="", label="Own masks", visible=False, elem_id=called("masks"))
        made["view"] = gr.Textbox(value=_knobs(), visible=False, elem_id=called("view"))
        made["edit"] = gr.Button(visible=False, elem_id=called("edit"))
    for name in ("line", "view", "masks", "preview"):
        made[name].do_not_save_to_config = True
    return made


def _first_choices(made: Components, called: Callable[[str], str]) -> None:
    """What is in sight beside the line, the rows and the words; style.css leaves two profiles to *More settings*."""
    with gr.Row(elem_classes="clora-first"):
        made["profile"] = gr.Radio(list(PROFILES), value=DEFAULT, label="Profile", elem_id=called("profile"))
        made["show_masks"] = gr.Checkbox(
            value=False, label="Show masks", elem_id=called("show_masks"), min_width=100,
            tooltip="Add a picture of which LoRA draws where.",
        )  # fmt: skip
        made["preview"] = gr.Checkbox(
            value=lambda: option("preview_masks"), label="Masks while drawing", elem_id=called("preview"),
            min_width=100, tooltip="Beside the live preview, as they form; the same switch as in Settings, CLoRA.",
        )  # fmt: skip
        made["reset"] = gr.Button("Reset", size="sm", elem_id=called("reset"), min_width=60, scale=0)
    made["turned"] = gr.HTML(elem_id=called("turned"))


def _more_settings(made: Components, called: Callable[[str], str]) -> None:
    gr.HTML(f"<p class=clora-hint>{PROFILES_TOLD}</p>", elem_id=called("profiles"))
    made["method"] = _dropdown(METHODS, "clora", "Method", called("method"), _told(METHODS))
    made["bindings"] = gr.Textbox(
        value="", label="Bindings", lines=3, elem_id=called("bindings"),
        placeholder="tuxcat: cat\nbrowndog: dog #1, trigger=zorv\nwatercolor: style",
        info="LoRA: word, one on each line. Empty: read from the prompt.",
    )  # fmt: skip
    with gr.Row():
        for name in MAIN:
            made[name] = _slider(name, called(name))
    with gr.Accordion("Advanced", open=False, elem_id=called("advanced_box")):
        made["advanced"] = gr.Textbox(
            value="", label="Advanced settings", lines=2, placeholder="temperature = 0.4\nuncond = shared",
            info="name = value, one on each line. Empty: as the profile has them.", elem_id=called("advanced"),
        )  # fmt: skip


def _dropdown(choices: Mapping[str, object], value: str, label: str, elem_id: str, info: str) -> Any:
    return gr.Dropdown(list(choices), value=value, label=label, info=info, elem_id=elem_id)


def _told(words: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in words.items())


def _slider(name: str, elem_id: str) -> Any:
    knob = KNOB[name]
    ends = knob.schema()
    step, most = (1, 100) if knob.kind is POSITION else (0.01, ends["maximum"])  # percent, but for counted steps
    return gr.Slider(
        ends["minimum"], most, step=step, value=knob.default, label=knob.label, info=knob.help,
        tooltip=knob.term, min_width=240, elem_id=elem_id,
    )  # fmt: skip


def _knobs() -> str:
    """For the script: the schema of every advanced knob, and what each profile says of it."""
    schema = settings_schema()
    advanced = {name: schema[name] for name in KNOB if name not in MAIN}
    values: dict[str, dict[str, Any]] = {}
    for profile in PROFILES:
        page = with_defaults({"profile": profile})
        values[profile] = {name: page.get(name, profile_value(profile, name)) for name in advanced}
    return json.dumps({"knobs": advanced, "values": values}, ensure_ascii=False)
