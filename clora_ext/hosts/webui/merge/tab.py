"""The tab *Merge LoRAs*: what its script asks for, one JSON action at a time. Nothing is loaded before one is used."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from clora_ext.errors import CLoRAError, SettingsError
from clora_ext.hosts.webui.drive.catalogue import builtin, file_of
from clora_ext.hosts.webui.merge.components import make_merge_components
from clora_ext.hosts.webui.merge.fields import order_fields, rows_of_prompt, values_of_recipe
from clora_ext.hosts.webui.merge.form import form_as_data
from clora_ext.hosts.webui.merge.order import order_of
from clora_ext.hosts.webui.merge.queue import MERGES, list_loras, loaded_name, usual_trigger
from clora_ext.lora.files import lora_sizes
from clora_ext.merge.job import MergeJob
from clora_ext.merge.look import disturbances
from clora_ext.merge.recipe import recipe_of
from clora_ext.merge.run import Stage
from clora_ext.merge.ways import WAYS

PAIRS = 3
"""The pairs of LoRAs that a look names in each stage, the worst first."""
Answer = dict[str, Any]
"""What the script is told: the ``line``, and whatever else has changed."""
_TAKE = "(view) => [window.cloraMerge?.take() ?? view]"
_SHOW = "(view) => { window.cloraMerge?.show(view); }"


def merge_tabs() -> list[tuple[Any, str, str]]:
    """The tab for the host."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        made = make_merge_components()
        done = made["ask"].click(
            answer_action, [made["view"]], [made["view"]], _js=_TAKE, show_progress=False, queue=False
        )
        done.then(None, [made["view"]], _js=_SHOW)
    return [(blocks, "Merge LoRAs", "clora_merge")]


def answer_action(action: str) -> str:
    """Do what ``do`` of an action names, with its other values; what goes wrong is told in the ``line``."""
    wanted = json.loads(action)
    try:
        told = _ACTIONS[wanted["do"]](wanted)
    except CLoRAError as error:
        told = {"line": f"✗ {error.message}"}
    return json.dumps({**told, "asked": wanted.get("asked")}, ensure_ascii=False)


def known_loras() -> list[str]:
    """Of all LoRAs that the host knows."""
    return sorted(builtin().available_networks)


def _open(_: Mapping[str, Any]) -> Answer:
    """All that the tab is drawn from, and the merge that was asked for last."""
    return {"form": form_as_data(), "ways": dict(WAYS), **_files(), **_progress({})}


def _files() -> Answer:
    return {"names": known_loras(), "base": loaded_name()}


def _refresh(_: Mapping[str, Any]) -> Answer:
    list_loras()
    return _files()


# -- rows --------------------------------------------------------------------------------------------------------------


def _choose(wanted: Mapping[str, Any]) -> Answer:
    name = wanted["name"]
    return {"chosen": [name, 1, usual_trigger(name)], "line": ""}


def _take(wanted: Mapping[str, Any]) -> Answer:
    rows = rows_of_prompt(wanted["prompt"], _trigger_if_known)
    return {"rows": rows, "line": f"Taken from the prompt: {', '.join(row[0] for row in rows)}."}


def _trigger_if_known(name: str) -> str:
    """A LoRA that is not there is told when the merge is looked at."""
    try:
        return usual_trigger(name)
    except CLoRAError:
        return ""


def _fill(wanted: Mapping[str, Any]) -> Answer:
    if not wanted["merged"]:
        raise SettingsError("Choose a merged file first.", field="merged")
    path = Path(file_of(wanted["merged"]).filename)
    recipe = recipe_of(path.stem, lora_sizes(path).metadata)
    recipe.ingredients(_path_of)
    values = values_of_recipe(path.stem, recipe)
    base = f", on {recipe.base}" if recipe.base else ""
    line = f"As {path.stem} was merged, by {recipe.method}{base}."
    return {"rows": values.pop("rows"), "values": values, "line": line}


def _path_of(name: str) -> Path | None:
    found = builtin().available_networks.get(name)
    return None if found is None else Path(found.filename)


# -- look, merge, cancel -----------------------------------------------------------------------------------------------


def _look(wanted: Mapping[str, Any]) -> Answer:
    told: Answer = {"base": loaded_name(), "details": ""}
    try:
        job = MERGES.look(order_of(order_fields(wanted["fields"])))
        found = [f"{note}." for note in job.notes] + _fights(job)
    except CLoRAError as error:
        return told | {"line": f"✗ {error.message}"}
    base = f", on {job.base.name}" if job.base else ""
    line = f"{len(job.loras)} LoRAs can be merged into {job.request.out.name}{base}. That {job.room}."
    return told | {"line": line, "details": "\n".join(found)}


def _fights(job: MergeJob) -> list[str]:
    """The worst pairs of every stage, each pair once."""
    lines: list[str] = []
    everything = disturbances(job.loras)
    for stage in Stage:
        of_stage = [each for each in everything if each.stage is stage]
        pairs = {frozenset((each.lora, each.by)): each for each in reversed(of_stage)}  # the larger of the two stays
        lines += [each.told for each in sorted(pairs.values(), key=lambda each: -each.size)[:PAIRS]]
    return lines


def _merge(wanted: Mapping[str, Any]) -> Answer:
    MERGES.add(order_of(order_fields(wanted["fields"])))
    return _progress({})


def _progress(_: Mapping[str, Any]) -> Answer:
    """How the merge stands that was asked for last; with the files, once it is over."""
    task = MERGES.latest
    if task is None:
        return {"line": "", "running": False}
    running = not task.is_over
    told: Answer = {"line": task.line, "details": task.details, "running": running}
    return told if running else told | _files() | {"done": task.state == "done"}


def _cancel(_: Mapping[str, Any]) -> Answer:
    task = MERGES.latest
    if task is None or task.is_over:
        return {"line": "Nothing is being merged."}
    task.cancel()
    return {"line": f"Cancelling {task.name} …"}


_ACTIONS: Mapping[str, Callable[[Mapping[str, Any]], Answer]] = {
    "open": _open,
    "refresh": _refresh,
    "choose": _choose,
    "take": _take,
    "fill": _fill,
    "look": _look,
    "merge": _merge,
    "progress": _progress,
    "cancel": _cancel,
}
