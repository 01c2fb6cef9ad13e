"""LoRAs merged in the page's tab and by the routes, in a real WebUI, one after the other with pictures."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from clora_ext.lora.header import read_header
from clora_ext.merge.recipe import recipe_of
from tests.webui.browser import find_chromium, open_page
from tests.webui.jobs import draw
from tests.webui.merge_tab import SECONDS, MergeTab
from tests.webui.panel import JOB
from tests.webui.server import WebUI

TWO = [{"name": "tuxcat"}, {"name": "browndog", "ratio": 0.8}]
PROMPT = "a vako cat and a pleko dog <lora:tuxcat:1> <lora:browndog:0.8>"


@pytest.fixture
def folder(world: WebUI) -> Iterator[Path]:
    """WebUI's folder of LoRAs, left as it was."""
    found = world.data_dir / "models" / "Lora"
    before = set(found.iterdir())
    yield found
    for path in set(found.iterdir()) - before:
        for inner in [*path.glob("*")] if path.is_dir() else ():
            inner.unlink()
        path.rmdir() if path.is_dir() else path.unlink()
    world.post("/sdapi/v1/refresh-loras").raise_for_status()


def _ask(host: WebUI, path: str = "", **order: Any) -> dict[str, Any]:
    answer = host.post(f"/clora/v1/merge{path}", {"loras": TWO, "name": "six", "method": "svd", **order})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _when(host: WebUI, number: str, *states: str) -> dict[str, Any]:
    """How a merge stands once it is in one of ``states``."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        status = host.get(f"/clora/v1/merge/{number}").json()
        if status["state"] in states:
            return status
        time.sleep(0.05)
    raise AssertionError(status)


# -- the routes --------------------------------------------------------------------------------------------------------


def test_a_merge_is_queued_told_of_and_listed(world: WebUI, folder: Path):
    begun = _ask(world, rank=4, precision="fp32")
    assert begun["state"] in {"waiting", "merging", "done"} and begun["file"] == "six.safetensors"
    assert "MB of memory" in begun["room"] and begun["notes"] == []
    ended = _when(world, begun["id"], "done", "refused", "failed")
    assert (ended["state"], ended["error"]) == ("done", None)
    assert ended["done"] == ended["total"] == 112
    assert ended["report"]["triggers"] == ["vako cat", "pleko dog"]
    assert {stage: each["layers"] for stage, each in ended["report"]["stages"].items()}.keys() == {
        "text", "cross", "picture",
    }  # fmt: skip
    assert ended["peak_bytes"] > 2**27
    listed = {lora["name"]: lora for lora in world.get("/sdapi/v1/loras").json()}
    assert listed["six"]["metadata"]["modelspec.trigger_phrase"] == "vako cat, pleko dog"
    assert {path.name for path in folder.glob("six*")} == {"six.safetensors", "six.json"}
    recipe = recipe_of("six", read_header(folder / "six.safetensors").metadata)
    assert [(part.name, part.ratio, part.trigger) for part in recipe.loras] == [
        ("tuxcat", 1.0, "vako cat"), ("browndog", 0.8, "pleko dog"),
    ]  # fmt: skip
    again = world.post("/clora/v1/merge", {"loras": TWO, "name": "six", "method": "svd"})
    assert again.status_code == 422 and "six.safetensors is there already" in again.json()["detail"]


def test_a_look_tells_who_fights_and_begins_nothing(world: WebUI, folder: Path):
    told = _ask(world, "/look")
    assert {each["stage"] for each in told["disturbances"]} == {"text", "cross", "picture"}
    worst = told["disturbances"][0]
    assert (worst["lora"], worst["by"]) == ("browndog", "tuxcat"), "the smaller ratio"
    assert worst["size"] > 0.5
    shared = _ask(world, "/look", loras=[{**each, "trigger": "vako cat"} for each in TWO])
    assert shared["notes"] == [
        "LoRAs tuxcat and browndog share the trigger “vako cat”: merged, it calls up both at once"
    ]
    assert not list(folder.glob("six*"))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"loras": []}, "There is no LoRA to merge"),
        ({"loras": [{"name": "tuxcat"}, {"name": "nobody"}]}, "There is no LoRA “nobody”"),
        ({"loras": [{"name": "tuxcat"}, {"name": "tuxcat"}]}, "tuxcat is there twice"),
        ({"loras": [{"name": "tuxcat", "ratio": 0}, {"name": "browndog"}]}, "has the ratio 0"),
        ({"loras": [{"name": "../../outside"}]}, "There is no LoRA"),
        ({"loras": [{"name": "tuxcat"}] * 101}, "There are 101 LoRAs; 100 can be merged"),
        ({"name": "../six"}, "can be no file's name"),
        ({"name": "/six"}, "can be no file's name"),
        ({"name": "tuxcat", "overwrite": True}, "is one of the LoRAs that are merged"),
        ({"name": "spotdog"}, "spotdog.safetensors is there already"),
        ({"method": "best"}, "There is no way to merge called “best”"),
        ({"precision": "fp8"}, "“fp8” is no precision"),
        ({"width": 128}, "give both, or none"),
        ({"rang": 3}, "extra fields not permitted"),
    ],
)
def test_what_can_not_be_merged_is_answered(world: WebUI, folder: Path, order: dict[str, Any], words: str):
    before = set(world.data_dir.rglob("*.safetensors"))
    answer = world.post("/clora/v1/merge", {"loras": TWO, "name": "six", "method": "svd", **order})
    assert answer.status_code == 422
    assert words in str(answer.json()["detail"])
    assert set(world.data_dir.rglob("*.safetensors")) == before


def test_a_file_that_is_no_lora_is_told_by_name(world: WebUI, folder: Path):
    (folder / "broken.safetensors").write_bytes((folder / "tuxcat.safetensors").read_bytes()[:5000])
    answer = world.post("/clora/v1/merge", {"loras": [{"name": "tuxcat"}, {"name": "broken"}], "name": "six"})
    assert answer.status_code == 422
    assert "LoRA broken is cut off" in answer.json()["detail"]


def test_a_merge_that_nobody_asked_for_is_not_there(world: WebUI):
    assert world.get("/clora/v1/merge/none").status_code == 404
    assert world.post("/clora/v1/merge/none/cancel").status_code == 404


def test_it_waits_for_a_picture_and_is_cancelled_while_it_waits(world: WebUI, folder: Path):
    with ThreadPoolExecutor(1) as pool:
        picture = pool.submit(draw, world, prompt="a cat", steps=25, width=128, height=128)
        while not world.get("/sdapi/v1/progress").json()["state"]["job_count"]:
            time.sleep(0.02)
        begun = _ask(world)
        assert begun["state"] == "waiting"
        world.post(f"/clora/v1/merge/{begun['id']}/cancel").raise_for_status()
        picture.result()
    assert _when(world, begun["id"], "cancelled")["done"] == 0
    assert not list(folder.glob("six*"))


# -- the tab -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")
def test_the_tab_from_the_prompt_to_a_picture(world: WebUI, folder: Path):
    with open_page(world) as page:
        page.prompt(PROMPT)
        page.sampling(**JOB)
        tab = MergeTab(page)
        expect(tab.field("base")).to_have_value("tiny-world.safetensors")
        tab.element("take").click()
        tab.says("Taken from the prompt: tuxcat, browndog.")
        assert tab.cells() == ["tuxcat", "1", "vako cat", "browndog", "0.8", "pleko dog"]
        tab.element("start").click()
        tab.says("✗ The merged file needs a name")
        tab.field("name").fill("six")
        tab.unfold("learning")
        page.number("clora_merge_steps", 8)
        tab.field("prompt").fill("a {}")
        tab.field("joint_steps").fill("4")
        tab.element("look").click()
        tab.says("2 LoRAs can be merged into six.safetensors, on tiny-world.safetensors. That takes up to")
        assert "adds" in tab.field("told").input_value()
        tab.element("start").click()
        tab.says("%, about")
        tab.element("cancel").click()
        tab.says("six was cancelled. What is done stays")
        assert not (folder / "six.safetensors").exists()
        assert tab.cells() == ["tuxcat", "1", "vako cat", "browndog", "0.8", "pleko dog"], "nothing is lost"
        tab.element("start").click()
        tab.says("✓ six.safetensors is in the folder of LoRAs")
        told = tab.field("told").input_value()
        assert (
            "Triggers: vako cat, pleko dog" in told
            and "keys and values of texts: " in told
            and "after 4 joint steps" in told
        )
        tab.element("start").click()
        tab.says("✗ six.safetensors is there already: choose another name")
        tab.field("name").fill("")
        tab.choose("merged", "six")
        tab.element("fill").click()
        tab.says("As six was merged, by default, on tiny-world.safetensors.")
        expect(tab.field("name")).to_have_value("six")
        expect(tab.field("steps")).to_have_value("8")
        expect(tab.field("joint_steps")).to_have_value("4")
        page.page.locator("#tabs > .tab-nav button").get_by_text("txt2img", exact=True).click()
        page.page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Lora").click()
        page.page.locator("#txt2img_lora_cards .card[data-name=six]").wait_for()
        page.page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Generation").click()
        page.prompt("a vako cat in the grass <lora:six:1>")
        page.generate()
        assert "<lora:six:1>" in page.infotext() and "six: " in page.infotext()
        assert page.errors_outside_gradio() == []
