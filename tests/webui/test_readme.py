"""What the README shows is done as it stands there, on the WebUI that it is written for."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.webui.server import WebUI

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
HOST = "http://127.0.0.1:7860"


def blocks(language: str) -> list[str]:
    """The fenced blocks in ``language``."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_python_example_draws(world: WebUI):
    (code,) = blocks("python")
    assert HOST in code
    made: dict[str, Any] = {}
    exec(compile(code.replace(HOST, world.url), "README.md", "exec"), made)
    assert made["answer"].status_code == 200
    assert len(made["answer"].json()["images"]) == 1
    assert world.get("/clora/v1/last").json()["composed"] is True


def test_the_shell_example_answers(world: WebUI):
    (code,) = blocks("sh")
    done = subprocess.run(code.replace(HOST, world.url), shell=True, capture_output=True, encoding="utf-8", check=True)
    told = json.loads(done.stdout)
    assert told["problems"] == []
    assert told["estimate"]["ratio"] > 1


@pytest.mark.parametrize("prompt", blocks("prompt"))
def test_every_recipe_can_be_drawn(world: WebUI, prompt: str):
    told = world.post("/clora/v1/estimate", {"prompt": prompt.strip()}).json()
    assert told["problems"] == []
    assert told["estimate"]["ratio"] > 1


def test_every_route_of_the_table_is_there(world: WebUI):
    named = re.findall(r"/clora/v1/(\w+)", README)
    there = {path for path in world.get("/openapi.json").json()["paths"] if path.startswith("/clora/")}
    assert {f"/clora/v1/{name}" for name in named} <= there
    assert {path.split("/")[3] for path in there} == set(named), "every route is in the README"
