"""Merges one after the other, in WebUI's own queue: none runs beside a picture."""

import threading
from pathlib import Path

import torch
from modules import devices, sd_models, shared
from modules.call_queue import queue_lock

from clora_ext.errors import HostError, LoraError
from clora_ext.hosts.webui.drive.catalogue import builtin, file_of, lora_facts
from clora_ext.hosts.webui.merge.order import MOST_LORAS, MergeOrder, MergePart, file_name
from clora_ext.hosts.webui.merge.seen import SeenModel
from clora_ext.hosts.webui.merge.source import LoadedModel
from clora_ext.hosts.webui.merge.task import MergeTask
from clora_ext.merge.inputs import Ingredient
from clora_ext.merge.job import MergeJob, MergeRequest
from clora_ext.merge.work import Base, OpenModel

KEPT_TASKS = 32
"""Merges that are remembered."""


def loaded_name() -> str:
    """The file of the checkpoint that is loaded; empty where none is. Loads nothing."""
    model = sd_models.model_data.sd_model
    return "" if model is None else Path(model.sd_checkpoint_info.filename).name


def loaded_base() -> Base:
    """The checkpoint that is loaded, to check a merge by; nothing of it is changed. Raises ``HostError``."""
    if sd_models.model_data.sd_model is None:
        raise HostError("No checkpoint is loaded: choose one on top of the page.", field="base")
    return _base(SeenModel)


def drawing_base() -> Base:
    """The checkpoint that the next picture would be drawn with, for whoever holds the host's queue."""
    sd_models.reload_model_weights()
    return _base(LoadedModel)


def _base(model: OpenModel) -> Base:
    file = Path(shared.sd_model.sd_checkpoint_info.filename)
    identity = (str(file.resolve()), file.stat().st_mtime_ns, str(devices.device), str(devices.dtype_unet))
    return Base(file.name, identity, model)


def request_of_order(order: MergeOrder) -> MergeRequest:
    """The request with files for names. Raises ``CLoRAError`` for names that are not known or can be no file's."""
    if len(order.loras) > MOST_LORAS:
        raise LoraError(f"There are {len(order.loras)} LoRAs; {MOST_LORAS} can be merged at once.", field="loras")
    if (order.width is None) != (order.height is None):
        raise LoraError("Of width and height one is given: give both, or none.", field="width")
    out = Path(shared.cmd_opts.lora_dir) / file_name(order.name)
    namesake = builtin().available_networks.get(out.stem)
    if namesake is not None and Path(namesake.filename).resolve() != out.resolve():
        folder = Path(namesake.filename).parent.name
        raise LoraError(f"There is a LoRA {out.stem} in the folder {folder} already: choose another name.", "name")
    size = None if order.width is None or order.height is None else (order.height, order.width)
    return MergeRequest(
        tuple(_ingredient(part) for part in order.loras),
        out,
        order.method,
        order.form,
        order.overwrite,
        tuple(order.prompt),
        tuple(order.held_prompt),
        order.steps,
        size,
        int(order.memory * 2**30),
        order.joint_steps,
    )


def _ingredient(part: MergePart) -> Ingredient:
    return Ingredient(Path(file_of(part.name).filename), part.ratio, part.trigger or usual_trigger(part.name))


def usual_trigger(name: str) -> str:
    """The words that call a LoRA up by the user's note or its file; empty where neither says any."""
    facts = lora_facts(name)
    return ", ".join(facts.parts) or next(iter(facts.triggers), "")


def list_loras() -> None:
    """Have the host look into its folder again."""
    builtin().list_available_networks()


class MergeQueue:
    """The merges that were asked for since the start."""

    def __init__(self) -> None:
        self._tasks: dict[str, MergeTask] = {}

    def look(self, order: MergeOrder) -> MergeJob:
        """A merge that is checked and not begun. Raises ``CLoRAError``."""
        return MergeJob(request_of_order(order), loaded_base)

    def add(self, order: MergeOrder) -> MergeTask:
        """Check a merge and put it in the queue; it is checked again when its turn comes. Raises ``CLoRAError``."""
        job = self.look(order)
        task = MergeTask(job.request.out.stem, job.notes, job.room)
        for old in [*self._tasks][: 1 - KEPT_TASKS]:
            if self._tasks[old].is_over:
                del self._tasks[old]
        self._tasks[task.id] = task
        threading.Thread(target=self._run, args=(task, job.request), name=f"merge {task.id}", daemon=True).start()
        return task

    def find(self, number: str) -> MergeTask | None:
        """A merge by its id."""
        return self._tasks.get(number)

    @property
    def latest(self) -> MergeTask | None:
        """The merge that was asked for last."""
        return next(reversed(self._tasks.values()), None)

    def _run(self, task: MergeTask, request: MergeRequest) -> None:
        def tell() -> None:
            shared.state.job_no, shared.state.job_count = task.done, task.total
            shared.state.textinfo = task.line
            if shared.state.interrupted:
                task.cancel()

        try:
            with queue_lock:
                shared.state.begin(job=f"merge {task.name}")
                try:
                    with torch.no_grad():
                        task.run(lambda: MergeJob(request, drawing_base), devices.device, tell, list_loras)
                finally:
                    shared.state.end()
        finally:
            task.over()


MERGES = MergeQueue()
"""Of this WebUI."""
