"""What README and docs show is done as it stands there, on the WebUI that they are written for."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.webui.server import WebUI

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
HOST = "http://127.0.0.1:7860"
SUPPORT = re.search(r"^> \| sampler \| .+? by masks only: (.+?) \|", README, re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in ``language``."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def first_use() -> str:
    """The prompt of the first steps."""
    return re.search(r"^   `(.+<lora:.+)`$", README, re.MULTILINE)[1]


def test_the_python_examples_draw_and_give_the_masks_back(world: WebUI):
    draw, masks = blocks(API, "python")
    made: dict[str, Any] = {}
    for code in (draw, masks):
        assert HOST in code
        exec(compile(code.replace(HOST, world.url), "api.md", "exec"), made)
    assert made["answer"].status_code == 200
    assert len(made["answer"].json()["images"]) == 1
    assert world.get("/clora/v1/last").json()["composed"] is True
    assert [binding["lora"] for binding in made["bindings"]] == ["tuxcat", "browndog"]
    assert all(binding["mask"] for binding in made["bindings"])


def test_the_shell_example_answers(world: WebUI):
    (code,) = blocks(API, "sh")
    done = subprocess.run(code.replace(HOST, world.url), shell=True, capture_output=True, encoding="utf-8", check=True)
    told = json.loads(done.stdout)
    assert told["problems"] == []
    assert told["estimate"]["ratio"] > 1


@pytest.mark.parametrize("prompt", [first_use(), *blocks(README, "prompt")])
def test_every_recipe_can_be_drawn(world: WebUI, prompt: str):
    told = world.post("/clora/v1/estimate", {"prompt": prompt.strip()}).json()
    assert told["problems"] == []
    assert told["estimate"]["ratio"] > 1


def test_every_route_of_the_table_is_there(world: WebUI):
    named = re.findall(r"/clora/v1/(\w+)", API)
    there = {path for path in world.get("/openapi.json").json()["paths"] if path.startswith("/clora/")}
    assert {f"/clora/v1/{name}" for name in named} <= there
    assert {path.split("/")[3] for path in there} == set(named), "every route is in the docs"


def test_every_field_of_the_api_is_told(world: WebUI):
    """All but the knobs, which the schema lists."""
    known = world.get("/clora/v1/schema").json()["properties"]
    table = API[API.index("| field |") :].split("\n\n", maxsplit=1)[0]
    told = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert told == {"enabled", "profile", "method", "bindings", "masks", "show_masks"}
    assert told <= set(known)
    sentence = re.search(r"A binding has (.+?)\n\n", API, re.DOTALL)[1]
    binding = next(kind for kind in _kinds(known["bindings"]) if kind.get("type") == "object")
    assert set(binding["properties"]) <= set(re.findall(r"`(\w+)`", sentence))


def _kinds(schema: Any) -> list[dict[str, Any]]:
    """All schemas inside a schema."""
    if isinstance(schema, list):
        return [kind for part in schema for kind in _kinds(part)]
    return [schema, *_kinds(list(schema.values()))] if isinstance(schema, dict) else []


def test_the_samplers_that_the_readme_names_are_those_without_updates(world: WebUI):
    named = set(SUPPORT[1].split(", "))
    masks_only: set[str] = set()
    for sampler in (one["name"] for one in world.get("/sdapi/v1/samplers").json()):
        job = {"prompt": first_use(), "sampler_name": sampler, "steps": 3, "width": 64, "height": 64}
        scripts = {"alwayson_scripts": {"CLoRA": {"args": [{}]}}}
        answer = world.post("/sdapi/v1/txt2img", {**job, **scripts})
        assert answer.status_code == 200, (sampler, answer.text[:200])
        (batch,) = world.get("/clora/v1/last").json()["batches"]
        masks_only |= {sampler} if batch["settings"]["method"] == "masks" else set()
    assert masks_only == named
