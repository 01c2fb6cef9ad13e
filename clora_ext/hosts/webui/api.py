"""The REST routes: schema, version, the last job's report."""

import secrets
from typing import Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from modules import shared

from clora_ext import __version__
from clora_ext.hosts.webui.reports import last
from clora_ext.request import json_schema
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


def add_routes(_demo: Any, app: FastAPI) -> None:
    """Register ``/clora/v1/...``; under ``--api-auth`` they ask for the same accounts as the host's own routes."""
    guards = [Depends(_allowed)] if shared.cmd_opts.api_auth else []

    @app.get("/clora/v1/version", dependencies=guards)
    def version() -> dict[str, Any]:
        """Version, profiles and methods."""
        return {"version": __version__, "profiles": list(PROFILES), "methods": METHODS}

    @app.get("/clora/v1/schema", dependencies=guards)
    def schema() -> dict[str, Any]:
        """JSON schema of the object in ``alwayson_scripts.CLoRA.args``."""
        return json_schema()

    @app.get("/clora/v1/last", dependencies=guards)
    def report() -> dict[str, Any]:
        """The last job: per step loss, masks, areas, UNet rows, seconds; peak memory; settings; why it was refused."""
        if not last.report:
            raise HTTPException(404, "CLoRA has been asked for no job since WebUI started.")
        return last.report
