"""Who may ask the REST routes, and how much at once."""

import json
import secrets
from collections.abc import Callable
from typing import Any, NoReturn

from fastapi import Depends, HTTPException, Request
from fastapi.routing import APIRoute
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from modules import shared

LONGEST_BODY = 16 * 2**20
"""Bytes of a request."""

_BASIC = Depends(HTTPBasic())


def guards() -> list[Any]:
    """Under ``--api-auth``, what asks for the same accounts as the host's own routes."""
    return [Depends(_require_account)] if shared.cmd_opts.api_auth else []


def _accounts() -> dict[str, str]:
    """User names and passwords of ``--api-auth``, as the host reads them (modules/api/api.py)."""
    entries = (shared.cmd_opts.api_auth or "").split(",")
    accounts: dict[str, str] = {}
    for entry in entries:
        user, colon, password = entry.partition(":")
        if colon:
            accounts[user] = password
    return accounts


def _require_account(credentials: HTTPBasicCredentials = _BASIC) -> None:
    password = _accounts().get(credentials.username, "")
    if not password or not secrets.compare_digest(credentials.password.encode(), password.encode()):
        raise HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})


class LimitedRoute(APIRoute):
    """A route that reads no more than ``LONGEST_BODY``, and only JSON as the standard has it."""

    def get_route_handler(self) -> Callable[..., Any]:
        """FastAPI's own handler, of a limited request."""
        handle = super().get_route_handler()

        async def limited(request: Request) -> Any:
            return await handle(_LimitedRequest(request.scope, request.receive))

        return limited


class _LimitedRequest(Request):
    """FastAPI asks for ``body`` first and then, where that is JSON, for ``json``."""

    _read: bytes | None = None

    async def body(self) -> bytes:
        if self._read is None:
            parts = bytearray()
            async for part in self.stream():
                parts += part
                if len(parts) > LONGEST_BODY:
                    raise HTTPException(413, f"The request has more than {LONGEST_BODY:,} bytes; send less at once.")
            self._read = bytes(parts)
        return self._read

    async def json(self) -> Any:
        try:
            found = json.loads(await self.body(), parse_constant=_refuse)
            json.dumps(found, ensure_ascii=False).encode()  # raises where half of a sign could not be sent back
        except (ValueError, RecursionError) as error:
            raise HTTPException(422, f"The body can not be read as JSON ({error}); mend it.") from error
        return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
