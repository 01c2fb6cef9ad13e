"""The REST routes: schema, version, what a prompt will do, presets, the last job."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Body, FastAPI, HTTPException

from clora_ext import __version__
from clora_ext.errors import CLoRAError
from clora_ext.hosts.webui.page import presets
from clora_ext.hosts.webui.page.access import LimitedRoute, guards
from clora_ext.hosts.webui.page.chosen import SIZE, STEPS, Sampling
from clora_ext.hosts.webui.page.fields import request_of
from clora_ext.hosts.webui.page.forecast import forecast, with_tokens
from clora_ext.hosts.webui.page.last_job import LastJob
from clora_ext.hosts.webui.page.problem import problem_report
from clora_ext.hosts.webui.page.source import PageSource
from clora_ext.settings.profiles import METHODS, PROFILES
from clora_ext.settings.request import json_schema


@contextmanager
def as_answers() -> Generator[None, None, None]:
    """Errors of ours inside are answers with a status, a sentence and the field, not a traceback in the log."""
    try:
        yield
    except CLoRAError as error:
        raise HTTPException(error.status_code, error.detail) from None


REQUEST = Body(default={}, description="The same object as in alwayson_scripts, see /clora/v1/schema")
PROMPT = Body(description="A positive prompt as typed")
STYLES = Body(default=[], description="Names of WebUI's styles")


def add_routes(app: FastAPI, source: PageSource, last_job: LastJob) -> None:
    """Register ``/clora/v1/...``; under ``--api-auth`` they ask for the same accounts as the host's own routes."""
    told = (_fact_routes(), _job_routes(last_job), _report_routes(source, last_job))
    for routes in (*told, _forecast_routes(source), _preset_routes()):
        app.include_router(routes, prefix="/clora/v1", dependencies=guards())


def _fact_routes() -> APIRouter:
    routes = APIRouter(route_class=LimitedRoute)

    @routes.get("/version")
    def version() -> dict[str, Any]:
        """Version, profiles and methods."""
        return {"version": __version__, "profiles": list(PROFILES), "methods": METHODS}

    @routes.get("/schema")
    def schema() -> dict[str, Any]:
        """JSON schema of the object in ``alwayson_scripts.CLoRA.args``."""
        return json_schema()

    return routes


def _job_routes(last_job: LastJob) -> APIRouter:
    routes = APIRouter(route_class=LimitedRoute)

    @routes.get("/last")
    def report() -> dict[str, Any]:
        """The last job: per step loss, masks, areas, UNet rows, seconds; peak memory; settings; why it was refused."""
        if not last_job.report:
            raise HTTPException(404, "CLoRA has been asked for no job since WebUI started.")
        return last_job.report

    @routes.get("/masks")
    def masks() -> list[dict[str, Any]]:
        """The last job's masks: per image and subject its LoRA, its words and a grey PNG in base64."""
        return last_job.masks()

    return routes


def _report_routes(source: PageSource, last_job: LastJob) -> APIRouter:
    routes = APIRouter(route_class=LimitedRoute)

    @routes.get("/report")
    def problem(private: bool = False) -> dict[str, str]:  # noqa: FBT001, FBT002 - a value of the address
        """A report to paste into an issue, as Markdown; paths, prompts and words of bindings only with ``private``."""
        return {"report": problem_report(last_job, source, private=private)}

    return routes


def _forecast_routes(source: PageSource) -> APIRouter:
    routes = APIRouter(route_class=LimitedRoute)

    @routes.post("/tokenize")
    def tokenize(prompt: str = PROMPT, clora: dict[str, Any] = REQUEST, styles: list[str] = STYLES) -> dict[str, Any]:
        """A prompt's words with their token columns, its LoRAs and what each is bound to, problems."""
        told = with_tokens(source, forecast(source, prompt, lambda: request_of(clora), styles=styles))
        return {name: told[name] for name in ("words", "rows", "problems", "notes", "line")}

    @routes.post("/estimate")
    def estimate(
        prompt: str = PROMPT,
        steps: int = Body(STEPS, ge=1, le=1000),
        width: int = Body(SIZE[0], ge=64, le=8192),
        height: int = Body(SIZE[1], ge=64, le=8192),
        denoising_strength: float = Body(1.0, ge=0, le=1),
        clora: dict[str, Any] = REQUEST,
        styles: list[str] = STYLES,
    ) -> dict[str, Any]:
        """UNet rows of one image, their cost to a plain image's, memory beyond its, seconds; None with a problem."""
        sampling = Sampling(steps, width, height, denoising_strength)
        told = forecast(source, prompt, lambda: request_of(clora), sampling, styles)
        return {name: told[name] for name in ("estimate", "problems", "notes", "line")}

    return routes


def _preset_routes() -> APIRouter:
    routes = APIRouter(route_class=LimitedRoute)

    @routes.get("/presets")
    def all_presets() -> dict[str, dict[str, Any]]:
        """The user's presets by name."""
        with as_answers():
            return presets.all_presets()

    @routes.put("/presets/{name}")
    def save_preset(name: str, clora: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008 - FastAPI's way
        """Keep profile, method and knobs under a name; answers what is kept."""
        with as_answers():
            return presets.save_preset(name, clora)

    @routes.delete("/presets/{name}")
    def delete_preset(name: str) -> dict[str, dict[str, Any]]:
        """Forget a preset; answers the others."""
        with as_answers():
            presets.delete_preset(name)
            return presets.all_presets()

    return routes
