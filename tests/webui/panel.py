"""The panel as a person's hand finds it on a page of the tiny world, and the same jobs by the API.

Screenshots go to out/screenshots, to look at; `make screenshots` puts some of them into docs/.
"""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from clora_ext.settings.knobs import KNOB
from tests.webui.browser import WebUIPage
from tests.webui.server import WebUI

SCREENSHOTS = Path(__file__).resolve().parents[2] / "out" / "screenshots"
PROMPT = "a vako cat <lora:tuxcat:1> and a pleko dog <lora:browndog:1> in the grass"
UNBOUND = "a cat, a cat and a dog in the grass <lora:tuxcat:1.2> <lora:browndog:1.2>"
JOB = {"steps": 6, "width": 128, "height": 128, "seed": 1}
PAGE = {"sampler_name": "DPM++ 2M", "scheduler": "Automatic", "cfg_scale": 7.0}
"""What a fresh page has chosen."""


class Panel:
    """The panel on an open page, and the hand that uses it."""

    def __init__(self, opened: WebUIPage) -> None:
        self.opened = opened
        self.page = opened.page
        self.board = opened.element("clora_txt2img_board")

    def element(self, name: str):
        return self.opened.element(f"clora_txt2img_{name}")

    def switch(self) -> None:
        """Click the accordion's title, which opens and enables it, or closes and disables it."""
        self.element("enabled").locator(".label-wrap").first.click()

    def choose_profile(self, value: str) -> None:
        """Choose a profile with the mouse; those as published are there when *More settings* is open."""
        self.element("profile").get_by_label(value, exact=True).click()

    @property
    def profile(self) -> str:
        return self.element("profile").locator("input:checked").input_value()

    def unfold(self) -> None:
        """Have *More settings* open."""
        title = self.element("more_box").locator(".label-wrap").first
        if "open" not in (title.get_attribute("class") or "").split():
            title.click()

    def field(self, name: str) -> str:
        """What a text or number field holds."""
        return self.element(name).locator("textarea, input:not([type=range])").first.input_value()

    def says(self, words: str) -> None:
        """Wait until the live line has these words."""
        self.board.locator(".clora-line", has_text=words).wait_for()

    def told(self, words: str) -> None:
        """Wait until the presets' own line has these words."""
        self.page.locator("#clora_txt2img_preset_told", has_text=words).wait_for()

    def turned(self, words: str) -> None:
        """Wait until the line below the profiles has these words."""
        self.element("turned").get_by_text(words).wait_for()

    def open(self, name: str) -> None:
        """Click the title of an accordion in *More settings*."""
        self.unfold()
        self.element(name).locator(".label-wrap, summary").first.click()

    def holds(self, name: str, value: str) -> None:
        """Wait until a field holds this value."""
        self.page.wait_for_function(
            "([id, value]) => [...document.getElementById(id).querySelectorAll('textarea, input')][0].value === value",
            arg=[f"clora_txt2img_{name}", value],
        )

    def shows(self, name: str, value: str) -> None:
        """Wait until the control of an advanced knob shows this value."""
        self.page.wait_for_function(
            "([id, value]) => document.getElementById(id).value === value", arg=[f"clora_txt2img_knob_{name}", value]
        )

    def chip(self, word: str, occurrence: int = 1):
        return (
            self.board.locator("button.clora-chip")
            .filter(has=self.page.locator(f"bdi:text-is('{word}')"))
            .nth(occurrence - 1)
        )

    def knob(self, name: str):
        """The control of an advanced knob, found by its label."""
        return self.element("advanced_box").get_by_label(KNOB[name].label, exact=True)

    def row(self, lora: str):
        return self.board.get_by_role("group", name=lora, exact=True)

    @property
    def prompt(self) -> str:
        return self.page.locator("#txt2img_prompt textarea").input_value()

    def pictures(self) -> int:
        """How many pictures the gallery has."""
        return self.page.locator("#txt2img_gallery .thumbnails img").count()

    def screenshot(self, name: str, *, whole: bool = True) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        taken = self.page.screenshot(full_page=True) if whole else self.element("enabled").screenshot()
        colours = Image.open(io.BytesIO(taken)).convert("RGB").quantize(128)
        colours.save(SCREENSHOTS / f"{name}.png", optimize=True)


def by_api(host: WebUI, prompt: str = PROMPT, **fields: Any) -> str:
    """The digest of the picture that the API makes of the same job."""
    return host.txt2img(prompt=prompt, **JOB, **PAGE, alwayson_scripts={"CLoRA": {"args": [fields]}}).sha1
