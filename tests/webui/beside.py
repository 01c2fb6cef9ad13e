"""Jobs beside other extensions, whose scripts are given as the API names them."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.webui.jobs import BINDINGS, SILENT, SMALL, draw, fields, last
from tests.webui.server import Result, WebUI, WebUIError


def compose(host: WebUI, scripts: Mapping[str, Any] | None = None, *, silent: bool = False, **payload: Any) -> Result:
    """Two LoRAs on cat and dog, beside other extensions' scripts; ``silent`` ones change nothing."""
    asked = fields(bindings=list(SILENT), method="masks") if silent else fields(bindings=list(BINDINGS))
    asked["alwayson_scripts"] |= scripts or {}
    return draw(host, **{**SMALL, **asked, **payload})


def plain(host: WebUI, scripts: Mapping[str, Any] | None = None, **payload: Any) -> Result:
    """The same without us."""
    return draw(host, **{**SMALL, "alwayson_scripts": dict(scripts or {}), **payload})


def notes(host: WebUI) -> str:
    return " ".join(last(host)["batches"][0]["notes"])


def refused(host: WebUI, scripts: Mapping[str, Any] | None = None, **payload: Any) -> str:
    """The sentence of a job that must not be drawn."""
    with pytest.raises(WebUIError) as caught:
        compose(host, scripts, **payload)
    assert caught.value.status in (409, 422), caught.value
    return str(caught.value)
