"""The panel: few components, the events that keep it up to date, and the fields that an infotext fills.

Every component makes the page slower to load, so rows, chips, the advanced knobs and presets are drawn by
javascript/clora.js when they are looked at. Without it the text fields “Bindings” and “Advanced settings” do the same.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from clora_ext.hosts.webui.actions import act
from clora_ext.hosts.webui.fields import FIELDS, MAIN, filled, named
from clora_ext.hosts.webui.options import with_defaults
from clora_ext.hosts.webui.preview import SIZE, STEPS, look
from clora_ext.request import KEY, from_infotext, read
from clora_ext.settings import KNOB, METHODS, PROFILES, profile_value, schema

COUNTED = ("steps", "width", "height")
"""The host's own fields that an estimate counts with."""


def panel(tab: str, page: Mapping[str, Any]) -> tuple[list[Any], list[tuple[Any, Any]]]:
    """Build the panel of ``tab``; gives its components in the order of ``FIELDS`` and its infotext fields.

    ``page`` has the host's own components ``prompt`` and those of ``COUNTED``, as far as they are there.
    Pure: the host builds the panel several times, also outside of a page.
    """

    def called(name: str) -> dict[str, str]:
        return {"elem_id": f"clora_{tab}_{name}"}

    made: dict[str, Any] = {}
    with InputAccordion(value=False, label=KEY, **called("enabled")) as made["enabled"]:
        line = gr.Textbox(value="", label="What will happen", interactive=False, lines=1, **called("line"))
        check = gr.Button("Check the prompt", size="sm", **called("check"))
        with gr.Row():
            made["profile"] = gr.Dropdown(
                list(PROFILES), value="balanced", label="Profile", scale=1, **called("profile"),
                info="balanced: our defaults; fast: one row for all LoRAs; authors, paper: as published",
            )  # fmt: skip
            made["method"] = gr.Dropdown(
                list(METHODS), value="clora", label="Method", scale=2, **called("method"),
                info="; ".join(f"{name}: {text}" for name, text in METHODS.items()),
            )  # fmt: skip
        made["show_masks"] = gr.Checkbox(
            value=False, label="Show masks", **called("show_masks"),
            info="Add a picture of who draws what, with each subject's attention.",
        )  # fmt: skip
        made["bindings"] = gr.Textbox(
            value="", label="Bindings", lines=2, **called("bindings"),
            placeholder="tuxcat: cat\nbrowndog: dog #1, trigger=zorv\nwatercolor: style",
            info="One LoRA per line; empty to read them from the prompt.",
        )  # fmt: skip
        with gr.Row():
            for name in MAIN:
                knob = KNOB[name]
                made[name] = gr.Slider(
                    knob.low, knob.high, step=0.01, value=knob.default, label=knob.label, info=knob.help,
                    min_width=240, **called(name),
                )  # fmt: skip
        with gr.Accordion("Advanced", open=False, **called("advanced_box")):
            made["advanced"] = gr.Textbox(
                value="", label="Advanced settings", lines=2, placeholder="temperature = 0.4\nuncond = shared",
                info="name = value, one on each line; empty for the profile's.", **called("advanced"),
            )  # fmt: skip
        view, edit = (
            gr.Textbox(value=_knobs(), visible=False, **called("view")),
            gr.Button(visible=False, **called("edit")),
        )
    for component in (line, view):
        component.do_not_save_to_config = True
    turned = [*MAIN, "advanced"]
    # not change: that also follows a paste, and would undo the knobs that were pasted along
    made["profile"].input(
        lambda profile: [filled({"profile": profile})[name] for name in turned],
        inputs=[made["profile"]], outputs=[made[name] for name in turned], show_progress=False,
    )  # fmt: skip
    if "prompt" in page:
        _listen(tab, page, made, line, check, edit, view)
    return [made[name] for name in FIELDS], [
        (made[name], functools.partial(_pasted, name)) for name in FIELDS if name != "show_masks"
    ]


def _knobs() -> str:
    """For the script: the schema of every advanced knob, and what each profile says of it."""
    told = {name: entry for name, entry in schema().items() if name in KNOB and name not in MAIN}
    values: dict[str, dict[str, Any]] = {}
    for profile in PROFILES:
        page = with_defaults({"profile": profile})
        values[profile] = {name: page.get(name, profile_value(profile, name)) for name in told}
    return json.dumps({"knobs": told, "values": values}, ensure_ascii=False)


# -- events --------------------------------------------------------------------------------------------------------


def _listen(
    tab: str, page: Mapping[str, Any], made: Mapping[str, Any], line: Any, check: Any, edit: Any, view: Any
) -> None:
    """Look at the prompt, and do an action on the fields, when the script says so; it then reads the answer."""
    quiet = {"show_progress": False, "queue": False}
    counted = [name for name in COUNTED if name in page]
    asked = [page["prompt"], *(page[name] for name in counted), *(made[name] for name in FIELDS)]
    fields = {"prompt": page["prompt"], **{name: made[name] for name in FIELDS if name != "enabled"}}

    def do(action: str, *values: Any) -> dict[Any, Any]:
        changed, told = act(action, dict(zip(fields, values, strict=True)))
        return {fields[name]: value for name, value in changed.items()} | {view: json.dumps(told, ensure_ascii=False)}

    looked = check.click(functools.partial(_look, counted), inputs=asked, outputs=[line, view], **quiet)
    done = edit.click(
        do, inputs=[view, *fields.values()], outputs=[*fields.values(), view],
        _js=f"(view, ...fields) => [window.clora.take('{tab}'), ...fields]", **quiet,
    )  # fmt: skip
    for event in (looked, done):
        event.then(None, inputs=[view], _js=f"(view) => {{ window.clora?.show('{tab}', view); }}")


def _look(counted: Sequence[str], prompt: str, *values: Any) -> tuple[str, str]:
    host = dict(zip(COUNTED, (STEPS, *SIZE), strict=True)) | dict(zip(counted, values, strict=False))
    steps, width, height = (int(host[name]) for name in COUNTED)
    args = values[len(counted) :]
    seen = look(prompt, lambda: read(with_defaults(named(args))), steps, (width, height))
    return seen["line"], json.dumps(seen, ensure_ascii=False)


def _pasted(name: str, words: Mapping[str, str]) -> Any:
    """The value of one field from an infotext; an image that was made without us switches the panel off."""
    found = from_infotext(words)
    if found is None:
        return False if name == "enabled" else None
    return filled(found)[name]
