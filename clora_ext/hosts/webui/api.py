"""The REST routes: schema, version, what a prompt will do, presets, the last job."""

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from modules import shared

from clora_ext import __version__
from clora_ext.errors import CLoRAError
from clora_ext.hosts.webui import presets
from clora_ext.hosts.webui.options import with_defaults
from clora_ext.hosts.webui.preview import SIZE, STEPS, look, with_tokens
from clora_ext.hosts.webui.reports import last, masks_of
from clora_ext.request import json_schema, read
from clora_ext.settings import METHODS, PROFILES


def _accounts() -> dict[str, str]:
    """User names and passwords of ``--api-auth``, as the host reads them (modules/api/api.py)."""
    pairs = (pair.split(":", 1) for pair in (shared.cmd_opts.api_auth or "").split(",") if ":" in pair)
    return dict(pairs)


basic = Depends(HTTPBasic())


def _allowed(credentials: HTTPBasicCredentials = basic) -> None:
    password = _accounts().get(credentials.username, "")
    if not password or not secrets.compare_digest(credentials.password.encode(), password.encode()):
        raise HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})


@contextmanager
def _answered() -> Generator[None, None, None]:
    """Errors of ours inside are answers with a status, a sentence and the field, not a traceback in the log."""
    try:
        yield
    except CLoRAError as error:
        raise HTTPException(error.status_code, error.detail) from None


FIELDS = Body(default={}, description="The same object as in alwayson_scripts, see /clora/v1/schema")
PROMPT = Body(description="A positive prompt as typed")


def add_routes(_demo: Any, app: FastAPI) -> None:
    """Register ``/clora/v1/...``; under ``--api-auth`` they ask for the same accounts as the host's own routes."""
    guards = [Depends(_allowed)] if shared.cmd_opts.api_auth else []
    for routes in (_facts(), _jobs(), _presets()):
        app.include_router(routes, prefix="/clora/v1", dependencies=guards)


def _facts() -> APIRouter:
    routes = APIRouter()

    @routes.get("/version")
    def version() -> dict[str, Any]:
        """Version, profiles and methods."""
        return {"version": __version__, "profiles": list(PROFILES), "methods": METHODS}

    @routes.get("/schema")
    def schema() -> dict[str, Any]:
        """JSON schema of the object in ``alwayson_scripts.CLoRA.args``."""
        return json_schema()

    return routes


def _jobs() -> APIRouter:
    routes = APIRouter()

    @routes.get("/last")
    def report() -> dict[str, Any]:
        """The last job: per step loss, masks, areas, UNet rows, seconds; peak memory; settings; why it was refused."""
        if not last.report:
            raise HTTPException(404, "CLoRA has been asked for no job since WebUI started.")
        return last.report

    @routes.get("/masks")
    def masks() -> list[dict[str, Any]]:
        """The last job's masks: per image and subject its LoRA, its words and a grey PNG in base64."""
        return masks_of(last.report)

    @routes.post("/tokenize")
    def tokenize(prompt: str = PROMPT, clora: dict[str, Any] = FIELDS) -> dict[str, Any]:
        """A prompt's words with their token columns, its LoRAs and what each is bound to, problems."""
        seen = with_tokens(look(prompt, partial(read, clora)))
        return {name: seen[name] for name in ("words", "rows", "problems", "line")}

    @routes.post("/estimate")
    def estimate(
        prompt: str = PROMPT,
        steps: int = Body(STEPS, ge=1, le=1000),
        width: int = Body(SIZE[0], ge=64, le=8192),
        height: int = Body(SIZE[1], ge=64, le=8192),
        clora: dict[str, Any] = FIELDS,
    ) -> dict[str, Any]:
        """UNet rows of one image, their cost to a plain image's and the memory beyond its; None with a problem."""
        seen = look(prompt, lambda: read(with_defaults(clora)), steps, (width, height))
        return {name: seen[name] for name in ("estimate", "problems", "line")}

    return routes


def _presets() -> APIRouter:
    routes = APIRouter()

    @routes.get("/presets")
    def all_presets() -> dict[str, dict[str, Any]]:
        """The user's presets by name."""
        with _answered():
            return presets.presets()

    @routes.put("/presets/{name}")
    def save_preset(name: str, clora: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008 - FastAPI's way
        """Keep profile, method and knobs under a name; answers what is kept."""
        with _answered():
            return presets.save(name, clora)

    @routes.delete("/presets/{name}")
    def delete_preset(name: str) -> dict[str, dict[str, Any]]:
        """Forget a preset; answers the others."""
        with _answered():
            presets.delete(name)
            return presets.presets()

    return routes
