"""The panel: one loop over the knobs, the events that keep it up to date, and the fields that an infotext fills.

Rows and chips are drawn by javascript/clora.js from what ``_look`` answers; without it the text fields do the same.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from clora_ext.errors import CLoRAError
from clora_ext.hosts.webui import preset_ui
from clora_ext.hosts.webui.preview import STEPS, look
from clora_ext.prompt import format_requests, parse_requests, read_requests, write
from clora_ext.request import KEY, from_infotext
from clora_ext.settings import KNOBS, METHODS, PROFILES, Knob, profile_value

MAIN = ("step_size", "update_until", "mask_threshold", "lock_at")
"""The knobs that stand in sight; the others are under “Advanced”."""

FIELDS = ("enabled", "show_masks", "profile", "method", "bindings", *(knob.name for knob in KNOBS))
"""The components in the order in which the host hands their values over."""


def panel(tab: str, page: Mapping[str, Any]) -> tuple[list[Any], list[tuple[Any, Any]]]:
    """Build the panel of ``tab``; gives its components in the order of ``FIELDS`` and its infotext fields.

    ``page`` has the host's own components ``prompt`` and ``steps``, as far as they are there. Pure: the host builds
    the panel several times, also outside of a page.
    """

    def named(name: str) -> dict[str, str]:
        return {"elem_id": f"clora_{tab}_{name}"}

    made: dict[str, Any] = {}
    with InputAccordion(value=False, label=KEY, **named("enabled")) as made["enabled"]:
        line = gr.Textbox(value="", label="What will happen", interactive=False, lines=1, **named("line"))
        gr.HTML(value="", **named("board"))
        check = gr.Button("Check the prompt", size="sm", **named("check"))
        with gr.Row():
            made["profile"] = gr.Dropdown(
                list(PROFILES), value="balanced", label="Profile", scale=1, **named("profile"),
                info="balanced: our defaults; fast: one row for all LoRAs; authors, paper: as published",
            )  # fmt: skip
            made["method"] = gr.Dropdown(
                list(METHODS), value="clora", label="Method", scale=2, **named("method"),
                info="; ".join(f"{name}: {text}" for name, text in METHODS.items()),
            )  # fmt: skip
        made["show_masks"] = gr.Checkbox(
            value=False, label="Show masks", info="Add a picture of who draws what.", **named("show_masks")
        )
        made["bindings"] = gr.Textbox(
            value="", label="Bindings", lines=2, **named("bindings"),
            placeholder="tuxcat: cat\nbrowndog: dog #1, trigger=zorv\nwatercolor: style",
            info="One LoRA per line; empty to read them from the prompt.",
        )  # fmt: skip
        with gr.Row():
            made |= {knob.name: _component(knob, named(knob.name)) for knob in KNOBS if knob.name in MAIN}
        with gr.Accordion("Advanced", open=False, **named("advanced")):
            made |= {knob.name: _component(knob, named(knob.name)) for knob in KNOBS if knob.name not in MAIN}
        preset_ui.build(named, {name: made[name] for name in FIELDS if name not in ("enabled", "bindings")})
    components = [made[name] for name in FIELDS]
    knobs = [made[knob.name] for knob in KNOBS]
    # not change: that also follows a paste, and would undo the knobs that were pasted along
    made["profile"].input(profile_values, inputs=[made["profile"]], outputs=knobs, show_progress=False)
    if "prompt" in page:
        _keep_up_to_date(tab, named, page, components, line, check)
    return components, [(made[name], functools.partial(_pasted, name)) for name in FIELDS if name != "show_masks"]


def _component(knob: Knob, named: Mapping[str, str]) -> Any:
    common = {"label": knob.label, "info": knob.help, "value": knob.default, **named}
    if isinstance(knob.default, bool):
        return gr.Checkbox(**common)
    if knob.choices:
        return gr.Dropdown(list(knob.choices), **common)
    if knob.listed is not None:
        return gr.Textbox(**common)
    step = 1 if isinstance(knob.default, int) else 0.01
    return gr.Slider(knob.low, knob.high, step=step, **common)


def profile_values(profile: str) -> list[Any]:
    """What a profile says of every knob: the panel follows it, and each can be turned from there."""
    return [profile_value(profile, knob.name) for knob in KNOBS]


def fields(args: Sequence[Any]) -> Mapping[str, Any]:
    """The object of named fields from what the host hands over: the panel's values, or an API's object in front.

    Raises ``IndexError`` never: missing values are simply not named.
    """
    named = next((arg for arg in args if isinstance(arg, dict)), None)
    return named if named is not None else dict(zip(FIELDS, args, strict=False))


# -- events --------------------------------------------------------------------------------------------------------


def _keep_up_to_date(
    tab: str,
    named: Callable[[str], dict[str, str]],
    page: Mapping[str, Any],
    components: Sequence[Any],
    line: gr.Textbox,
    check: gr.Button,
) -> None:
    """Look at the prompt when it changes, and write into it what is done in rows and chips.

    The script says when: it waits for a pause in typing, and asks nothing while the panel is off.
    """
    prompt, bindings = page["prompt"], components[FIELDS.index("bindings")]
    view, action = (gr.Textbox(value="", visible=False, **named(name)) for name in ("view", "action"))
    edit = gr.Button(visible=False, **named("edit"))
    for component in (line, view, action):
        component.do_not_save_to_config = True
    quiet = {"show_progress": False, "queue": False}
    asked = [prompt, *([page["steps"]] if "steps" in page else []), *components]
    check.click(functools.partial(_look, "steps" in page), inputs=asked, outputs=[line, view], **quiet).then(
        None, inputs=[view], _js=f"(view) => {{ window.clora?.show('{tab}', view); }}"
    )
    edit.click(
        _edit,
        inputs=[action, prompt, bindings],
        outputs=[prompt, bindings, line],
        _js=f"(action, prompt, bindings) => [window.clora.take('{tab}'), prompt, bindings]",
        **quiet,
    )
    for component in (prompt, *components):
        component.change(None, _js=f"() => {{ window.clora?.touched('{tab}'); }}")


def _look(counted: bool, prompt: str, *values: Any) -> tuple[str, str]:  # noqa: FBT001 - bound by partial
    steps, args = (values[0], values[1:]) if counted else (STEPS, values)
    seen = look(prompt, fields(args), int(steps))
    return seen["line"], json.dumps(seen, ensure_ascii=False)


def _edit(action: str, prompt: str, bindings: str) -> tuple[Any, Any, Any]:
    """One change of one LoRA, ``{"lora": name, "changes": {field: value}}``, written into prompt or bindings."""
    try:
        wanted = json.loads(action)
        requests = parse_requests(bindings)
        written, left = write(prompt, requests, [wanted["lora"]], wanted["changes"])
    except CLoRAError as error:
        return gr.update(), gr.update(), error.message
    return written, gr.update() if left == requests else format_requests(left), gr.update()


def _pasted(name: str, words: Mapping[str, str]) -> Any:
    """The value of one component from an infotext; an image that was made without us switches the panel off."""
    found = from_infotext(words)
    if found is None:
        return False if name == "enabled" else None
    value = found[name]
    return format_requests(read_requests(value)) if name == "bindings" else value
