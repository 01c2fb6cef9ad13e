"""What a person does with the panel, in a real browser on the tiny world."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.webui.browser import WebUIPage, find_chromium, open_page
from tests.webui.jobs import last
from tests.webui.server import Model, Setup, WebUI, pixel_sha1
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS

CHECKOUT = Path(__file__).resolve().parents[2]
PROMPT = "a vako cat <lora:tuxcat:1.2> and a pleko dog <lora:browndog:1.2> in the grass"
JOB = {"steps": 6, "width": 128, "height": 128, "seed": 1}
PAGE = {"sampler_name": "DPM++ 2M", "scheduler": "Automatic", "cfg_scale": 7.0}
"""What a fresh page has chosen."""

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")


@pytest.fixture(scope="module")
def world(webui_dir: Path) -> Iterator[WebUI]:
    """A WebUI with page, this extension and the tiny world."""
    model = Model(CHECKPOINT, CONFIG, TOKENIZER, tuple(sorted((WEIGHTS / "lora").glob("*.safetensors"))))
    with WebUI(Setup(webui=webui_dir, model=model, extensions=(CHECKOUT,))) as host:
        yield host


def switch(page: WebUIPage) -> None:
    """Click the accordion's title, which opens and enables it, or closes and disables it."""
    page.element("clora_txt2img_enabled").locator(".label-wrap").first.click()


def choose(page: WebUIPage, element_id: str, value: str) -> None:
    """Choose from a dropdown with the mouse."""
    page.element(element_id).locator("input").first.click()
    page.element(element_id).locator("ul.options li", has_text=value).first.click()


def field(page: WebUIPage, name: str) -> str:
    """What a text or number field of the panel holds."""
    return page.element(f"clora_txt2img_{name}").locator("textarea, input:not([type=range])").first.input_value()


def by_api(host: WebUI, **fields: Any) -> str:
    """The digest of the picture that the API makes of the same job."""
    return host.txt2img(prompt=PROMPT, **JOB, **PAGE, alwayson_scripts={"CLoRA": {"args": [fields]}}).sha1


def test_the_panel_makes_the_picture_of_the_api_and_off_is_plain(world: WebUI):
    with open_page(world) as page:
        page.prompt(PROMPT)
        page.sampling(**JOB)
        plain = pixel_sha1(page.generate())
        switch(page)
        composed = pixel_sha1(page.generate())
        assert "CLoRA profile: balanced" in page.infotext()
        switch(page)
        assert pixel_sha1(page.generate()) == plain
        assert "CLoRA" not in page.infotext()
        assert page.errors_outside_gradio() == []
    assert composed == by_api(world)
    assert plain == world.txt2img(prompt=PROMPT, **JOB, **PAGE).sha1 != composed


def test_a_picture_sent_back_restores_every_field(world: WebUI):
    """A knob that differs from its profile is pasted along with the profile, and must survive it."""
    bindings = [{"lora": "tuxcat", "subject": "cat"}, {"lora": "browndog", "subject": "dog", "weight": 1.1}]
    with open_page(world) as page:
        page.prompt(PROMPT)
        page.sampling(**JOB)
        switch(page)
        choose(page, "clora_txt2img_profile", "authors")
        page.page.wait_for_timeout(700)
        assert field(page, "mask_threshold") == "0.3", "a profile sets its knobs"
        page.number("clora_txt2img_mask_threshold", 0.41)
        page.element("clora_txt2img_bindings").locator("textarea").fill("tuxcat: cat\nbrowndog: dog, weight=1.1")
        first = page.generate()
        picture = page.shown_file()
    assert pixel_sha1(first) == by_api(world, profile="authors", mask_threshold=0.41, bindings=bindings)
    with open_page(world) as page:
        page.send_to_txt2img(picture)
        assert page.element("clora_txt2img_bindings").locator("textarea").is_visible()
        assert (field(page, "profile"), field(page, "mask_threshold")) == ("authors", "0.41")
        assert field(page, "bindings") == "tuxcat: cat\nbrowndog: dog, weight=1.1"
        again = page.generate()
        assert pixel_sha1(again) == pixel_sha1(first)
    settings = last(world)["settings"]
    assert (settings["mask_threshold"], settings["step_size"], settings["refresh"]) == (0.41, 20.0, False)


def test_a_picture_made_without_us_switches_the_panel_off(world: WebUI):
    with open_page(world) as page:
        page.prompt(PROMPT)
        page.sampling(**JOB)
        plain = page.generate()
        picture = page.shown_file()
        switch(page)
        page.send_to_txt2img(picture)
        assert not page.element("clora_txt2img_bindings").locator("textarea").is_visible()
        assert pixel_sha1(page.generate()) == pixel_sha1(plain)
