"""Several subjects of one LoRA in the real WebUI: as by a file for each, and with a row, a line and a mask for each."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from clora_ext.merge.recipe import Part, Recipe
from clora_ext.prompt import mask_digest
from tests.webui.browser import find_chromium, open_page
from tests.webui.jobs import SMALL, fields, last, require_alike
from tests.webui.server import Result, WebUI
from tests.webui.test_own_masks_page import QUICK, Editor
from tests.webui.test_panel import Panel

WORDS = "a vako cat and a pleko dog in the grass"
PROMPT = f"{WORDS} <lora:six:1>"


@pytest.fixture(scope="module")
def six(world: WebUI) -> Iterator[WebUI]:
    """The tiny world with tuxcat by another name, and by a third as if it had been merged."""
    folder = world.data_dir / "models" / "Lora"
    own = folder / "tuxcat.safetensors"
    copy, merged = folder / "two.safetensors", folder / "six.safetensors"
    shutil.copy(own, copy)
    recipe = Recipe("concat", (Part("tuxcat", trigger="vako cat"), Part("browndog", trigger="pleko dog")))
    metadata = {"modelspec.trigger_phrase": "vako cat, pleko dog", "ss_output_name": "six"} | recipe.metadata()
    save_file(load_file(own), merged, metadata=metadata)
    world.post("/sdapi/v1/refresh-loras").raise_for_status()
    yield world
    copy.unlink()
    merged.unlink()
    world.post("/sdapi/v1/refresh-loras").raise_for_status()


def _draw(host: WebUI, prompt: str, *lines: dict[str, Any], **wanted: Any) -> Result:
    return host.txt2img(prompt=prompt, seed=1, **SMALL, **fields(bindings=list(lines), **wanted))


def test_one_file_draws_two_subjects_as_two_copies_of_it(six: WebUI):
    cat, dog = {"subject": "cat", "trigger": "vako"}, {"subject": "dog", "trigger": "pleko"}
    two = _draw(six, WORDS, {"lora": "tuxcat", **cat}, {"lora": "two", **dog}, profile="balanced")
    once = _draw(six, PROMPT, profile="balanced")
    assert last(six)["batches"][0]["loras"] == ["six", "six"]
    require_alike(once.images[0], two.images[0])
    plain = _draw(six, PROMPT, method="merge")
    assert plain.sha1 == six.txt2img(prompt=PROMPT, seed=1, **SMALL).sha1, "its tag counts once"


@pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")
def test_each_subject_of_a_file_has_its_row_its_line_and_its_mask(six: WebUI):
    with open_page(six) as page:
        page.prompt(PROMPT)
        page.sampling(**QUICK)
        panel, editor = Panel(page), Editor(page)
        panel.switch()
        panel.says("six on “cat”, six on “dog”")
        weight = panel.row("six").nth(1).get_by_label("Weight")
        weight.fill("0.8")
        weight.press("Tab")
        panel.holds("bindings", "six: dog, weight=0.8")
        assert panel.prompt == PROMPT
        panel.row("six").nth(1).get_by_role("button", name="Own mask", exact=True).click()
        editor.box.get_by_text("six: dog", exact=True).wait_for()
        editor.stroke((0.7, 0.05), (0.7, 0.95))
        editor.counts("Own mask: fixed")
        assert list(editor.masks) == ["six: dog"]
        page.generate()
        (batch,) = last(six)["batches"]
        mask = {"mask_way": "fixed", "digest": mask_digest(editor.masks["six: dog"]["mask"])}
        assert (batch["loras"], batch["own_masks"]) == (["six", "six"], [None, mask])
        editor.press("Take the last picture's")
        editor.tells("The mask of the last picture.")
        page.element("clora_txt2img_finished").get_by_role("button", name="Use these masks again").click()
        panel.row("six").nth(0).get_by_role("button", name="Own mask: fixed", exact=True).wait_for()
        assert list(editor.masks) == ["six: dog", "six: cat"]
        panel.chip("dog").click()
        panel.holds("bindings", "")
        panel.says("six on “cat”, six on “dog”")
        assert list(editor.masks) == ["six: dog", "six: cat"]
        page.prompt(f"{PROMPT} <lora:lineart:0.5>")
        panel.row("lineart").get_by_label("Draws").select_option("only on dog")
        panel.says("lineart on what dog draws")
        panel.holds("bindings", "lineart: on=dog")
        assert page.errors_outside_gradio() == []
