"""Masks of one's own on the page, as a person's hand goes: painted, taken from a picture, chosen, kept and sent on."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clora_ext.hosts.pictures import read_mask
from clora_ext.prompt import mask_digest
from tests.webui.browser import JOB_MILLISECONDS, WebUIPage, find_chromium, open_page
from tests.webui.jobs import last
from tests.webui.panel import JOB, PROMPT, Panel
from tests.webui.server import WebUI, pixel_sha1
from tests.webui.test_panel import SPOKEN

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")
QUICK: Mapping[str, Any] = {**JOB, "steps": 2}


class Editor:
    """The mask editor of a tab, and the hand that uses it."""

    def __init__(self, opened: WebUIPage, tab: str = "txt2img") -> None:
        self.page, self.tab = opened.page, tab
        self.board = opened.element(f"clora_{tab}_board")
        self.box = opened.element(f"clora_{tab}_enabled").locator(".clora-mask")
        self.canvas = self.box.locator("canvas")

    def open(self, lora: str, says: str = "Own mask") -> None:
        self.board.get_by_role("group", name=lora, exact=True).get_by_role("button", name=says, exact=True).click()
        self.box.get_by_text(lora, exact=True).wait_for()

    def press(self, name: str) -> None:
        self.box.get_by_role("button", name=name, exact=True).click()

    def tells(self, words: str) -> None:
        self.box.get_by_role("status").get_by_text(words).wait_for()

    def counts(self, says: str) -> None:
        """Wait until the button of a LoRA says this."""
        self.board.get_by_role("button", name=says, exact=True).first.wait_for()

    def line(self, words: str) -> None:
        self.board.locator(".clora-line", has_text=words).wait_for()

    def stroke(self, *points: tuple[float, float]) -> None:
        """Draw a line through points, in shares of the canvas."""
        box = self.canvas.bounding_box()
        assert box is not None
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for x, y in at[1:]:
            self.page.mouse.move(x, y, steps=4)
        self.page.mouse.up()

    def choose(self, name: str, content: bytes) -> None:
        given = {"name": name, "mimeType": "image/png", "buffer": content}
        self.box.locator("input[type=file]").set_input_files(given)

    @property
    def field(self) -> str:
        return self.page.locator(f"#clora_{self.tab}_masks textarea").input_value()

    @property
    def masks(self) -> dict[str, dict[str, str]]:
        return json.loads(self.field or "{}")

    def shares(self) -> np.ndarray:
        """How white tuxcat's mask is in each cell of a grid of 4x4 cells."""
        white = read_mask(self.masks["tuxcat"]["mask"]).numpy()
        return white.reshape(4, 64, 4, 64).mean(axis=(1, 3))


def ready(page: WebUIPage) -> Editor:
    """The panel with both LoRAs bound."""
    page.prompt(PROMPT)
    page.sampling(**QUICK)
    Panel(page).switch()
    editor = Editor(page)
    editor.line("tuxcat on “cat”, browndog on “dog”")
    return editor


def drawn_with(host: WebUI) -> list[dict[str, str] | None]:
    (batch,) = last(host)["batches"]
    return batch["own_masks"]


def left_half() -> bytes:
    picture, kept = Image.new("RGB", (30, 20)), io.BytesIO()
    picture.paste((255, 255, 255), (0, 0, 15, 20))
    picture.save(kept, "PNG")
    return kept.getvalue()


@pytest.mark.row("Own masks", "works", name="painted in the panel")
def test_what_is_painted_counts_until_it_is_cleared(world: WebUI):
    with open_page(world) as page:
        editor = ready(page)
        editor.open("tuxcat")
        for column in (0.1, 0.2, 0.3, 0.4):  # answers to one stroke come during the next
            editor.stroke((column, 0.05), (column, 0.95))
        editor.counts("Own mask: fixed")
        assert editor.shares()[:, :2].min() > 0.7
        assert editor.shares()[:, 2:].max() == 0.0
        editor.box.get_by_label("Erase").check()
        editor.stroke((0.0, 0.62), (0.5, 0.62))
        assert editor.shares()[2, 0] < 0.7
        editor.press("Undo")
        assert editor.shares()[2, 0] > 0.7
        editor.box.get_by_label("What it draws").select_option("limited")
        editor.counts("Own mask: limited")
        spoken = editor.box.aria_snapshot().splitlines()
        controls = [each for each in spoken if each.strip(" -").split(" ")[0] in (*SPOKEN, "application")]
        assert len(controls) == 9
        assert [each for each in controls if '"' not in each] == []
        page.generate()
        assert drawn_with(world) == [
            {"mask_way": "limited", "digest": mask_digest(editor.masks["tuxcat"]["mask"])},
            None,
        ]
        page.prompt("a pleko dog <lora:browndog:1>")
        editor.line("nothing to keep apart")
        assert editor.field == ""
        page.prompt(PROMPT)
        editor.counts("Own mask: limited")
        draws = editor.board.get_by_role("group", name="tuxcat", exact=True).get_by_label("Draws")
        draws.select_option("everything (a style)")
        editor.line("tuxcat everywhere")
        draws.select_option("its words")
        editor.counts("Own mask: limited")
        assert list(editor.masks) == ["tuxcat"]
        editor.press("Clear")
        editor.tells("Nothing is white")
        assert editor.field == ""
        editor.canvas.focus()
        for key in ("ArrowLeft", " ", "Shift+ArrowDown", "Shift+ArrowDown"):
            page.page.keyboard.press(key)
        assert editor.shares()[2, 1] > 0.0
        for _ in range(3):
            page.page.keyboard.press("Control+z")
        editor.tells("Nothing is white")
        page.generate()
        assert drawn_with(world) == [None, None]
        assert page.errors_outside_gradio() == []


@pytest.mark.row("Own masks", "works", name="the last picture's or a file's, in the panel")
def test_a_mask_is_taken_from_the_last_picture_or_a_file(world: WebUI):
    with open_page(world) as page:
        editor = ready(page)
        editor.open("tuxcat")
        editor.choose("cat.txt", b"no picture")
        editor.tells("no picture that the browser can read")
        editor.choose("half.png", left_half())
        editor.tells("That is half.png.")
        assert editor.shares().round().tolist() == [[1.0, 1.0, 0.0, 0.0]] * 4
        page.generate()
        (cat, _) = world.get("/clora/v1/masks").json()
        editor.press("Clear")
        editor.tells("Nothing is white")
        editor.press("Take the last picture's")
        editor.tells("The mask of the last picture.")
        taken, found = (read_mask(text).numpy() for text in (editor.masks["tuxcat"]["mask"], cat["png"]))
        scale = taken.shape[0] // found.shape[0]
        assert np.array_equal(taken, found.repeat(scale, axis=0).repeat(scale, axis=1))
        page.number("txt2img_width", 256)
        page.page.wait_for_function("document.querySelector('.clora-canvas').height === 128")
        Panel(page).screenshot("9-own-mask", whole=False)
        editor.press("Close")
        editor.box.wait_for(state="hidden")
        assert page.errors_outside_gradio() == []


@pytest.mark.row("Own masks", "works", name="sent to img2img, brought back by an infotext")
def test_masks_go_to_img2img_and_come_back_by_the_infotext(world: WebUI):
    with open_page(world) as page:
        editor = ready(page)
        editor.open("tuxcat")
        editor.stroke((0.2, 0.1), (0.2, 0.9))
        editor.counts("Own mask: fixed")
        painted = editor.field
        first, file, text = page.generate(), page.shown_file(), page.infotext()
        page.element("txt2img_send_to_img2img").click()
        other = Editor(page, "img2img")
        other.counts("Own mask: fixed")
        assert other.field == painted
        other.open("tuxcat", "Own mask: fixed")
        other.stroke((0.8, 0.1), (0.8, 0.9))
        page.generate(tab="img2img")
        assert drawn_with(world)[0]["digest"] == mask_digest(other.masks["tuxcat"]["mask"])
        assert editor.field == painted != other.field
    with open_page(world) as page:
        page.send_to_txt2img(file)
        editor = Editor(page)
        editor.counts("Own mask: fixed")
        assert pixel_sha1(page.generate()) == pixel_sha1(first)
        page.prompt(text.replace(mask_digest(editor.masks["tuxcat"]["mask"]), "0123456789ab"))
        page.page.locator("#txt2img_tools #paste").click()
        editor.line("The mask of “tuxcat” is not here: paint it")
        page.element("txt2img_generate").click()
        refused = page.element("html_log_txt2img").get_by_text("The mask of “tuxcat” is not here").first
        refused.wait_for(timeout=JOB_MILLISECONDS)
        editor.open("tuxcat", "Own mask: not here")
        editor.press("Clear")
        editor.line("tuxcat on “cat”, browndog on “dog”")
        assert page.errors_outside_gradio() == []
