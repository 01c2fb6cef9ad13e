"""The tab *Merge LoRAs*: few components, and what their buttons do. Nothing is read or loaded before one is used."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from clora_ext.errors import CLoRAError, SettingsError
from clora_ext.hosts.webui.drive.catalogue import builtin, file_of
from clora_ext.hosts.webui.merge.components import make_merge_components
from clora_ext.hosts.webui.merge.fields import (
    EMPTY_ROW,
    MERGE_FIELDS,
    Cells,
    named,
    order_fields,
    rows_of_prompt,
    rows_with,
    values_of_recipe,
)
from clora_ext.hosts.webui.merge.order import order_of
from clora_ext.hosts.webui.merge.queue import MERGES, list_loras, loaded_name, usual_trigger
from clora_ext.lora.files import lora_sizes
from clora_ext.merge.job import MergeJob
from clora_ext.merge.look import disturbances
from clora_ext.merge.recipe import recipe_of
from clora_ext.merge.run import Stage
from clora_ext.merge.ways import WAYS

TELL_SECONDS = 0.5
"""Between two looks at a merge that runs."""
PAIRS = 3
"""The pairs of LoRAs that a look names in each stage, the worst first."""
_REFRESH_CARDS = """(line) => {
    if (!line.startsWith('✓')) return;
    for (const tab of ['txt2img', 'img2img']) {
        document.getElementById(`${tab}_lora_extra_refresh_internal`)?.click();
    }
}"""
"""The host's own hidden buttons make the cards of LoRAs anew."""


def merge_tabs(prompt: Any) -> list[tuple[Any, str, str]]:
    """The tab for the host; ``prompt`` is the field of txt2img, None where there is none."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        made = make_merge_components(names=known_loras, base=loaded_name, line=_latest_line)
        fields = [made[name] for name in MERGE_FIELDS]
        told = [made["line"], made["told"]]
        chosen = [made["loras"], made["rows"], made["line"]]
        made["loras"].input(_choose, [made["loras"], made["rows"]], [made["rows"]], show_progress=False)
        made["refresh"].click(_refresh, outputs=[made["loras"], made["merged"], made["base"]], show_progress=False)
        if prompt is not None:
            made["take"].click(_take, [prompt], chosen, show_progress=False)
        made["method"].change(_explain, [made["method"]], [made["method"]], show_progress=False)
        filled = [made[name] for name in _FILLED]
        made["fill"].click(_fill, [made["merged"]], [*filled, made["loras"], made["line"]], show_progress=False)
        made["look"].click(_look, fields, [*told, made["base"]])
        ended = made["merge"].click(_merge, fields, [*told, made["loras"], made["merged"]], show_progress=False)
        ended.then(None, [made["line"]], _js=_REFRESH_CARDS)
        made["cancel"].click(_cancel, outputs=[made["line"]], show_progress=False, queue=False)
    return [(blocks, "Merge LoRAs", "clora_merge")]


def known_loras() -> list[str]:
    """Of all LoRAs that the host knows."""
    return sorted(builtin().available_networks)


def _latest_line() -> str:
    """How the merge stands that was asked for last, for a page that is opened again."""
    return MERGES.latest.line if MERGES.latest else ""


# -- rows --------------------------------------------------------------------------------------------------------------


def _choose(names: Sequence[str], rows: Sequence[Cells]) -> list[Cells]:
    return _shown(rows_with(names, rows, usual_trigger))


def _shown(rows: Sequence[Cells]) -> list[Cells]:
    """An empty table keeps its columns by an empty row."""
    return list(rows) or [EMPTY_ROW]


def _refresh() -> list[Any]:
    list_loras()
    names = known_loras()
    return [gr.update(choices=names), gr.update(choices=names), loaded_name()]


def _take(prompt: str) -> list[Any]:
    try:
        rows = rows_of_prompt(prompt, _trigger_if_known)
    except CLoRAError as error:
        return [gr.update(), gr.update(), f"✗ {error.message}"]
    names = [row[0] for row in rows]
    return [gr.update(value=names, choices=_with(names)), _shown(rows), f"Taken from the prompt: {', '.join(names)}."]


def _trigger_if_known(name: str) -> str:
    """A LoRA that is not there is told when the merge is looked at."""
    try:
        return usual_trigger(name)
    except CLoRAError:
        return ""


def _with(names: Sequence[str]) -> list[str]:
    return sorted({*known_loras(), *names})


def _explain(method: str) -> Any:
    return gr.update(info=WAYS.get(method, ""))


_FILLED = ("rows", "name", "method", "precision", "full", "steps", "rank", "conv_rank", "prompt", "held_prompt")


def _fill(merged: str | None) -> list[Any]:
    try:
        if not merged:
            raise SettingsError("Choose a merged file first.", field="merged")
        path = Path(file_of(merged).filename)
        recipe = recipe_of(path.stem, lora_sizes(path).metadata)
        recipe.ingredients(_path_of)
    except CLoRAError as error:
        return [*(gr.update() for _ in _FILLED), gr.update(), f"✗ {error.message}"]
    values, names = values_of_recipe(path.stem, recipe), [part.name for part in recipe.loras]
    base = f", on {recipe.base}" if recipe.base else ""
    told = f"As {path.stem} was merged, by {recipe.method}{base}."
    return [*(values[name] for name in _FILLED), gr.update(value=names, choices=_with(names)), told]


def _path_of(name: str) -> Path | None:
    found = builtin().available_networks.get(name)
    return None if found is None else Path(found.filename)


# -- look, merge, cancel -----------------------------------------------------------------------------------------------


def _look(*values: Any) -> list[Any]:
    try:
        job = MERGES.look(order_of(order_fields(values)))
        found = [f"{note}." for note in job.notes] + _fights(job)
    except CLoRAError as error:
        return [f"✗ {error.message}", "", loaded_name()]
    base = f", on {job.base.name}" if job.base else ""
    line = f"{len(job.loras)} LoRAs can be merged into {job.request.out.name}{base}. That {job.room}."
    return [line, "\n".join(found), loaded_name()]


def _fights(job: MergeJob) -> list[str]:
    """The worst pairs of every stage, each pair once."""
    lines: list[str] = []
    everything = disturbances(job.loras)
    for stage in Stage:
        of_stage = [each for each in everything if each.stage is stage]
        pairs = {frozenset((each.lora, each.by)): each for each in reversed(of_stage)}  # the larger of the two stays
        lines += [each.told for each in sorted(pairs.values(), key=lambda each: -each.size)[:PAIRS]]
    return lines


def _merge(*values: Any) -> Iterator[list[Any]]:
    try:
        task = MERGES.add(order_of(order_fields(values)))
    except CLoRAError as error:
        yield [f"✗ {error.message}", gr.update(), gr.update(), gr.update()]
        return
    while not task.wait(TELL_SECONDS):
        yield [task.line, task.details, gr.update(), gr.update()]
    names = gr.update(choices=_with([str(row[0]) for row in named(values[0])]))
    yield [task.line, task.details, names, gr.update(choices=known_loras())]


def _cancel() -> str:
    task = MERGES.latest
    if task is None or task.is_over:
        return "Nothing is being merged."
    task.cancel()
    return f"Cancelling {task.name} …"
