"""The panel: one loop over the knobs, and the fields that an infotext fills."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from clora_ext.prompt import format_requests, read_requests
from clora_ext.request import KEY, from_infotext
from clora_ext.settings import KNOBS, METHODS, PROFILES, Knob, profile_value

MAIN = ("step_size", "update_until", "mask_threshold", "lock_at")
"""The knobs that stand in sight; the others are under “Advanced”."""

FIELDS = ("enabled", "profile", "method", "bindings", *(knob.name for knob in KNOBS))
"""The components in the order in which the host hands their values over."""


def panel(elem_id: Callable[[str], str]) -> tuple[list[Any], list[tuple[Any, Any]]]:
    """Build the panel; gives its components in the order of ``FIELDS`` and its infotext fields.

    Pure: the host builds it several times, also outside of a page.
    """
    made: dict[str, Any] = {}
    with InputAccordion(value=False, label=KEY, elem_id=elem_id("enabled")) as made["enabled"]:
        gr.Markdown(
            "Each LoRA of the prompt on its own subject: `<lora:tuxcat:1:bind=cat>`, or one line per LoRA below."
        )
        with gr.Row():
            made["profile"] = gr.Dropdown(
                list(PROFILES), value="balanced", label="Profile", elem_id=elem_id("profile"),
                info="balanced: our defaults; authors, paper: as published",
            )  # fmt: skip
            made["method"] = gr.Dropdown(
                list(METHODS), value="clora", label="Method", elem_id=elem_id("method"),
                info="; ".join(f"{name}: {text}" for name, text in METHODS.items()),
            )  # fmt: skip
        made["bindings"] = gr.Textbox(
            value="", label="Bindings", lines=2, elem_id=elem_id("bindings"),
            placeholder="tuxcat: cat\nbrowndog: dog #1, trigger=zorv\nwatercolor: style",
            info="One LoRA per line; empty to read them from the prompt.",
        )  # fmt: skip
        with gr.Row():
            made |= {knob.name: _component(knob, elem_id) for knob in KNOBS if knob.name in MAIN}
        with gr.Accordion("Advanced", open=False, elem_id=elem_id("advanced")):
            made |= {knob.name: _component(knob, elem_id) for knob in KNOBS if knob.name not in MAIN}
        knobs = [made[knob.name] for knob in KNOBS]
        # not change: that also follows a paste, and would undo the knobs that were pasted along
        made["profile"].input(profile_values, inputs=[made["profile"]], outputs=knobs, show_progress=False)
    components = [made[name] for name in FIELDS]
    return components, [(made[name], functools.partial(_pasted, name)) for name in FIELDS]


def _component(knob: Knob, elem_id: Callable[[str], str]) -> Any:
    common = {"label": knob.label, "info": knob.help, "elem_id": elem_id(knob.name), "value": knob.default}
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


def _pasted(name: str, words: Mapping[str, str]) -> Any:
    """The value of one component from an infotext; an image that was made without us switches the panel off."""
    found = from_infotext(words)
    if found is None:
        return False if name == "enabled" else None
    value = found[name]
    return format_requests(read_requests(value)) if name == "bindings" else value
