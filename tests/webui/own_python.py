"""Runs a script of tests/webui/data in WebUI's own Python, without a server."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.webui.conftest import CHECKOUT, HERE
from tests.webui.server import DROPPED_VARIABLES, ENVIRONMENT, find_python

SECONDS = 900.0
"""How long WebUI's modules may take to load; 13 s on an idle machine."""


def lines_of(webui: Path, script: str, scratch: Path) -> list[dict[str, Any]]:
    """The JSON objects that ``script`` printed, one on each line; data that WebUI writes goes to ``scratch``."""
    kept = {name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}
    command = [find_python(webui), HERE / "data" / script, webui, CHECKOUT, scratch]
    done = subprocess.run(
        list(map(str, command)),
        cwd=webui,
        env={**kept, **ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
