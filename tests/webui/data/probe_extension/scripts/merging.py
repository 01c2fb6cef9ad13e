"""For tests only: a merge on the loaded model, by layers' inputs, without the page.

`POST /probe/merge {"loras": ["tuxcat"], "triggers": ["vako cat"], "method": "span", "folder": "/a/folder", ...}` merges
LoRAs of the host's folder as `DrawnFeatures` of the embedded host would, and answers with the error of every layer. All
features stay in the folder; a model that is given as `checkpoint` is loaded first, as a person does; with `out` the
LoRA of that name is written; with `stop_at` the merge is ended at that call of the UNet; with `joint_steps` as many
follow, of pictures of one text, and what they came to is told and kept in the folder.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fastapi import Body, FastAPI
from modules import script_callbacks, sd_models, shared
from modules.call_queue import queue_lock


class StoppedError(Exception):
    """The call was reached."""


def merge(
    loras: list[str],
    triggers: list[str],
    method: str,
    folder: str,
    checkpoint: str | None = None,
    steps: int = 20,
    size: tuple[int, int] | None = None,
    out: str | None = None,
    stop_at: int = 0,
    joint_steps: int = 0,
) -> dict[str, Any]:
    """As the route says."""
    from clora_ext.hosts.webui.merge.source import LoadedModel
    from clora_ext.merge.inputs import Ingredient, read_ingredients
    from clora_ext.merge.joint import Joint
    from clora_ext.merge.metadata import merged_metadata
    from clora_ext.merge.methods import MERGE_METHODS
    from clora_ext.merge.output import OutputForm, write_merged, written_layer
    from clora_ext.merge.prompts import AS_RELEASED, PROMPTS
    from clora_ext.merge.recipe import Part, Recipe
    from clora_ext.merge.refusals import checked
    from clora_ext.merge.run import Merge
    from clora_ext.merge.store import Store

    if checkpoint is not None:
        shared.opts.sd_model_checkpoint = checkpoint
        sd_models.reload_model_weights()
    calls = 0

    def on_step() -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise StoppedError

    way, places = MERGE_METHODS[method], Path(shared.cmd_opts.lora_dir)
    prompts = AS_RELEASED if way.as_released else replace(PROMPTS, pictured=("a {}",))
    source = LoadedModel(triggers, prompts, steps, size, on_step)
    asked = [Ingredient(places / f"{name}.safetensors") for name in loras]
    read = read_ingredients(asked, source.family, source.weights)
    notes = checked(read, source.family)
    store = Store(Path(folder), {})
    store.drop_features = lambda *_: None
    try:
        found = Merge(read, source, way, store).run()
    except StoppedError:
        return {"calls": calls}
    together = {}
    if joint_steps:
        found, report = Joint(read, source, store, joint_steps, 2**30).run(found)
        together = asdict(report)
    if out is not None:
        layers = {name: written_layer(solved.delta, OutputForm(dtype="fp32")) for name, solved in found.items()}
        metadata = merged_metadata(out, read, layers, Recipe(method, tuple(Part(name) for name in loras)))
        write_merged(places / f"{out}.safetensors", layers, metadata)
    errors = {name: solved.error for name, solved in found.items()}
    concept = source.concept(f"a photo of a {triggers[0]}", triggers[0])
    return {"calls": calls, "errors": errors, "notes": notes, "concept": concept, "joint": together}


def add_routes(_demo: Any, app: FastAPI) -> None:
    """Register the route."""

    @app.post("/probe/merge")
    def merge_now(wanted: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008
        with queue_lock:
            return merge(**wanted)


script_callbacks.on_app_started(add_routes)
