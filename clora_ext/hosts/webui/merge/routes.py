"""The REST routes of merging: ask for a merge, see how it stands, cancel it, and look which LoRAs fight."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException

from clora_ext.hosts.webui.merge.order import MergeOrder
from clora_ext.hosts.webui.merge.queue import MERGES
from clora_ext.hosts.webui.merge.task import MergeTask
from clora_ext.hosts.webui.page.access import LimitedRoute, guards
from clora_ext.hosts.webui.page.api import as_answers
from clora_ext.merge.look import disturbances


def add_merge_routes(app: FastAPI) -> None:
    """Register ``/clora/v1/merge...``, guarded as the other routes."""
    app.include_router(_merge_routes(), prefix="/clora/v1/merge", dependencies=guards())


def _merge_routes() -> APIRouter:
    routes = APIRouter(route_class=LimitedRoute)

    @routes.post("")
    def start(order: MergeOrder) -> dict[str, Any]:
        """Check a merge and queue it; answers how it stands, with the id by which it is asked for."""
        with as_answers():
            return MERGES.add(order).status()

    @routes.post("/look")
    def look(order: MergeOrder) -> dict[str, Any]:
        """What a merge would need and be told, and how much each LoRA disturbs each other; begins nothing."""
        with as_answers():
            job = MERGES.look(order)
            found = [{**asdict(each), "stage": each.stage.value} for each in disturbances(job.loras)]
            return {"notes": job.notes, "room": job.room, "disturbances": found}

    @routes.get("/{number}")
    def progress(number: str) -> dict[str, Any]:
        """How a merge stands: its state, units of work done and in all, seconds, and in the end its report."""
        return _known(number).status()

    @routes.post("/{number}/cancel")
    def cancel(number: str) -> dict[str, Any]:
        """End a merge at its next unit of work; what is done stays, and the same merge goes on from there."""
        task = _known(number)
        task.cancel()
        return task.status()

    return routes


def _known(number: str) -> MergeTask:
    task = MERGES.find(number)
    if task is None:
        raise HTTPException(404, "There is no such merge since WebUI started.")
    return task
