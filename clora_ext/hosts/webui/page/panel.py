"""The panel: few components, the events that keep it up to date, and the fields that an infotext fills.

Every component makes the page slower to load, so all that is seen is drawn by javascript/clora.js and clora_panel.js.
Without them the text field “Settings of CLoRA” does the same.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from clora_ext.hosts.webui.page.actions import Answers, act_on
from clora_ext.hosts.webui.page.chosen import SAMPLING
from clora_ext.hosts.webui.page.components import Components, make_components
from clora_ext.hosts.webui.page.fields import args_to_fields, request_of
from clora_ext.hosts.webui.page.fields_text import PANEL_FIELDS, format_fields, request_to_fields
from clora_ext.hosts.webui.page.forecast import forecast
from clora_ext.hosts.webui.page.kept_masks import KEPT
from clora_ext.hosts.webui.page.source import PageSource
from clora_ext.settings.infotext import from_infotext, named_masks

_OF_BOTH = {"%_steps": "steps", "%_width": "width", "%_height": "height", "%_sampling": "sampler"}
_OF_EACH = {
    "txt2img": {"%_hr-checkbox": "hires", "hr_sampler": "hires_sampler", "hires_prompt": "hires_prompt"},
    "img2img": {"%_denoising_strength": "strength"},
}


def _of_tab(tab: str) -> dict[str, str]:
    return {element.replace("%", tab): name for element, name in (_OF_BOTH | _OF_EACH[tab]).items()}


COUNTED = {tab: _of_tab(tab) for tab in _OF_EACH}
"""The host's own fields of each tab that a forecast looks at, by ``elem_id``, and what they are in ``Sampling``."""

QUIET = {"show_progress": False, "queue": False}


def build_panel(
    tab: str, page: Mapping[str, Any], source: PageSource, answers: Answers
) -> tuple[list[Any], list[tuple[Any, Any]]]:
    """Build the panel of ``tab``; gives its components in the order of ``PANEL_FIELDS`` and its infotext fields.

    ``page`` has the host's own components of the tab by ``elem_id``: prompt, styles and those of ``COUNTED``, as far as
    they are there; ``answers`` are given to what the script asks. Pure: the host builds the panel several times, also
    outside of a page.
    """
    made = make_components(tab)
    if f"{tab}_prompt" in page:
        _look_at_prompt(tab, page, made, source)
        _do_actions(tab, page, made, answers)
    return [made[name] for name in PANEL_FIELDS], [(made[name], read) for name, read in PASTED.items()]


# -- events ------------------------------------------------------------------------------------------------------------


def _look_at_prompt(tab: str, page: Mapping[str, Any], made: Components, source: PageSource) -> None:
    """Look at the prompt when the script says so; it then reads the answer."""
    counted = {name: field for name, field in COUNTED[tab].items() if name in page}
    styles = [page[f"{tab}_styles"]] if f"{tab}_styles" in page else []
    looked = [page[f"{tab}_prompt"], *(page[name] for name in counted), *(made[name] for name in PANEL_FIELDS), *styles]
    look = functools.partial(_look, source, list(counted.values()))
    done = made["check"].click(
        look, inputs=[made["view"], *looked], outputs=[made["line"], made["view"]], _js=_taking(tab), **QUIET
    )
    _then_show(tab, made, done)


def _do_actions(tab: str, page: Mapping[str, Any], made: Components, answers: Answers) -> None:
    """Do an action on the fields when the script says so; it then reads what it is told."""

    def do(action: str, prompt: str, text: str) -> tuple[Any, str]:
        changed, told = act_on(action, prompt, text, answers)
        return gr.update() if changed is None else changed, json.dumps(told, ensure_ascii=False)

    done = made["edit"].click(
        do, inputs=[made["view"], page[f"{tab}_prompt"], made["fields"]], outputs=[made["fields"], made["view"]],
        _js=_taking(tab), **QUIET,
    )  # fmt: skip
    _then_show(tab, made, done)


def _taking(tab: str) -> str:
    """Puts what the script asks in the place of the view; without the script it stays."""
    return f"(view, ...fields) => [window.clora?.take('{tab}') ?? view, ...fields]"


def _then_show(tab: str, made: Components, event: Any) -> None:
    event.then(None, inputs=[made["view"]], _js=f"(view) => {{ window.clora?.show('{tab}', view); }}")


def _look(source: PageSource, counted: Sequence[str], asked: str, prompt: str, *values: Any) -> tuple[str, str]:
    told: dict[str, Any] = dict(zip(counted, values, strict=False))
    sampling = replace(SAMPLING, **{name: value for name, value in told.items() if value is not None})
    args = values[len(counted) : len(counted) + len(PANEL_FIELDS)]
    styles = [name for names in values[len(counted) + len(PANEL_FIELDS) :] for name in names or ()]

    def foresee(**instead: Any) -> dict[str, Any]:
        return forecast(source, prompt, lambda: request_of(args_to_fields(args) | instead), sampling, styles)

    found = foresee()
    if args[-1] and not found["rows"]:  # a mask may be why, and by the rows the script takes it back
        found["rows"] = foresee(masks="")["rows"]
    return found["line"], json.dumps({**found, "asked": json.loads(asked).get("asked")}, ensure_ascii=False)


def _pasted(name: str, words: Mapping[str, str]) -> Any:
    """The value of one component from an infotext; an image that was made without us switches the panel off."""
    found = _fields_of(tuple(words.items()))
    if found is None:
        return False if name == "enabled" else None
    if name == "masks":
        return json.dumps(KEPT.of(words)) if named_masks(words) else ""
    return found["enabled"] if name == "enabled" else format_fields(found | {"show_masks": False})


@functools.lru_cache(maxsize=1)
def _fields_of(words: tuple[tuple[str, str], ...]) -> dict[str, Any] | None:
    """All fields of an infotext; the host asks for one after the other."""
    found = from_infotext(dict(words))
    return None if found is None else request_to_fields(found)


PASTED = {name: functools.partial(_pasted, name) for name in PANEL_FIELDS}
"""How each component is read from an infotext; whether masks are shown stays. By these the host also tells which fields
of one tab are those of another, when a picture is sent there.
"""
