"""What people do next with a finished picture, on the page: see who draws what, draw by its masks again, inpaint."""

import io

import numpy as np
import pytest
from PIL import Image, ImageChops

from tests.webui.browser import WebUIPage, find_chromium, open_page
from tests.webui.jobs import last
from tests.webui.panel import JOB, PROMPT, Panel
from tests.webui.server import WebUI, pixel_sha1

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")
STYLED = f"{PROMPT} <lora:lineart:0.3>"
STATE = """() => [...document.querySelectorAll(
    '#img2img_prompt textarea, #img2img_neg_prompt textarea, #clora_img2img_bindings textarea, ' +
    '#clora_img2img_masks textarea, #img2img_width input, #img2img_height input, #img2img_steps input, ' +
    '#clora_img2img_profile input, #clora_img2img_advanced textarea, #clora_img2img_enabled-checkbox input'
)].map((field) => /radio|checkbox/.test(field.type) ? field.checked : field.value)"""
"""What the tab img2img has in its fields."""


class Strip:
    """What stands below a gallery, and the hand that uses it."""

    def __init__(self, opened: WebUIPage, tab: str = "txt2img") -> None:
        self.opened, self.page, self.tab = opened, opened.page, tab
        self.box = opened.element(f"clora_{tab}_finished")

    def button(self, name: str):
        return self.box.get_by_role("button", name=name, exact=True)

    def tells(self, words: str) -> None:
        self.box.get_by_role("status").get_by_text(words).wait_for()

    @property
    def buttons(self) -> list[str]:
        return self.box.get_by_role("button").all_inner_texts()

    def image(self, element_id: str) -> Image.Image:
        """What a field for a picture holds."""
        shown = self.opened.element(element_id).locator("img").first
        shown.wait_for()
        data = shown.evaluate(
            "async (image) => { await image.decode(); const canvas = document.createElement('canvas'); "
            "canvas.width = image.naturalWidth; canvas.height = image.naturalHeight; "
            "canvas.getContext('2d').drawImage(image, 0, 0); return [...new Uint8Array(await (await fetch("
            "canvas.toDataURL('image/png'))).arrayBuffer())]; }"
        )
        return Image.open(io.BytesIO(bytes(data))).convert("RGB")


def drawn(opened: WebUIPage, prompt: str = PROMPT) -> Strip:
    """A picture of two subjects with its masks."""
    opened.prompt(prompt)
    opened.prompt("blurry", negative=True)
    opened.sampling(**JOB)
    panel = Panel(opened)
    panel.switch()
    panel.says("tuxcat on “cat”, browndog on “dog”")
    panel.element("show_masks").locator("input").check()
    opened.generate()
    strip = Strip(opened)
    strip.button("Who draws what").wait_for()
    return strip


def test_a_click_on_the_masks_opens_who_draws_what_at_full_size(world: WebUI):
    with open_page(world) as opened:
        strip = drawn(opened, STYLED)
        gallery = opened.element("txt2img_gallery")
        gallery.locator(".thumbnails .thumbnail-item").last.click()
        shown = gallery.locator(":scope > div > img")
        opened.page.wait_for_function(
            "() => document.querySelector('#txt2img_gallery > div > img')?.naturalWidth === 768"
        )
        shown.click()
        dialog = opened.page.get_by_role("dialog", name="Who draws what")
        dialog.wait_for()
        assert dialog.get_by_role("listitem").all_inner_texts() == [
            "tuxcat: cat",
            "browndog: dog",
            "lineart: everywhere",
        ]
        picture = dialog.locator(".clora-who-stage img")
        opened.page.wait_for_function("() => document.querySelector('.clora-who-stage').clientHeight > 700")
        assert picture.count() == 3, "the picture, and a sheet of colour for each subject"
        boxes = [each.bounding_box() for each in picture.all()]
        assert boxes[0] == boxes[1] == boxes[2]
        Panel(opened).screenshot("10-who-draws-what")
        assert not opened.page.locator("#lightboxModal").is_visible()
        opened.page.keyboard.press("Escape")
        dialog.wait_for(state="detached")
        gallery.locator(".thumbnails .thumbnail-item").first.click()
        shown.click()
        opened.page.locator("#lightboxModal").wait_for()
        assert dialog.count() == 0, "other pictures are WebUI's"
        opened.page.keyboard.press("Escape")
        strip.button("Who draws what").focus()
        opened.page.keyboard.press("Enter")
        dialog.wait_for()
        assert opened.errors_outside_gradio() == []


def test_the_masks_of_a_picture_are_used_again_and_taken_back(world: WebUI):
    with open_page(world) as opened:
        strip = drawn(opened)
        (found,) = last(world)["batches"]
        strip.button("Use these masks again").click()
        strip.tells("Each LoRA will draw where it drew here.")
        board = opened.element("clora_txt2img_board")
        board.get_by_role("button", name="Own mask: fixed", exact=True).nth(1).wait_for()
        opened.number("txt2img_seed", 7)
        opened.generate()
        (again,) = last(world)["batches"]
        assert [each["mask_way"] for each in again["own_masks"]] == ["fixed", "fixed"]
        before, after = (np.array(each["masks"]) for each in (found, again))
        finer = after.shape[-1] // before.shape[-1]
        before = before.repeat(finer, axis=-1).repeat(finer, axis=-2)
        assert np.abs(before - after).max() <= 0.01, "of another seed, the same places"
        strip.button("Take it back").click()
        strip.tells("Taken back.")
        board.get_by_role("button", name="Own mask", exact=True).nth(1).wait_for()
        assert opened.errors_outside_gradio() == []


def test_one_subject_is_inpainted_by_its_own_mask_and_lora(world: WebUI):
    with open_page(world) as opened:
        strip = drawn(opened)
        kept = [opened.page.locator(f"#txt2img_{name} textarea").input_value() for name in ("prompt", "neg_prompt")]
        picture = Image.open(io.BytesIO(opened.shown_file())).convert("RGB")
        assert strip.buttons == [
            "Who draws what", "Use these masks again", "Inpaint tuxcat: cat", "Inpaint browndog: dog",
        ]  # fmt: skip
        strip.button("Inpaint browndog: dog").focus()
        opened.page.keyboard.press("Enter")
        other = Strip(opened, "img2img")
        other.tells("browndog: dog is ready to be inpainted")
        prompt = opened.page.locator("#img2img_prompt textarea")
        assert prompt.input_value() == "a vako cat and a pleko dog <lora:browndog:1> in the grass"
        assert opened.page.evaluate("document.activeElement.parentElement.parentElement.id") == "img2img_prompt"
        assert opened.page.locator("#img2img_neg_prompt textarea").input_value() == "blurry"
        assert pixel_sha1(other.image("img_inpaint_base")) == pixel_sha1(picture)
        mask = other.image("img_inpaint_mask").convert("L")
        assert mask.size == picture.size
        assert 0.01 < np.array(mask).mean() / 255 < 0.7
        Panel(opened).screenshot("11-inpaint-one-subject")
        opened.number("img2img_mask_blur", 0)
        again = opened.generate(tab="img2img")
        changed = np.array(ImageChops.difference(again, picture)).max(axis=2)
        black, white = np.array(mask) == 0, np.array(mask) == 255
        assert changed[white].mean() > 5 > 1 > changed[black].mean(), "the dog is another, and nothing else"
        other.button("Inpaint tuxcat: cat").wait_for()
        other.button("Inpaint tuxcat: cat").click()
        other.tells("tuxcat: cat is ready to be inpainted")
        assert prompt.input_value() == "a vako cat <lora:tuxcat:1> and a pleko dog in the grass"
        assert pixel_sha1(other.image("img_inpaint_base")) == pixel_sha1(again), "on top of the other's"
        assert [
            opened.page.locator(f"#txt2img_{name} textarea").input_value() for name in ("prompt", "neg_prompt")
        ] == kept
        other.button("Take it back").click()
        opened.page.wait_for_function(
            "() => document.querySelector('#img2img_prompt textarea').value.includes('browndog')"
        )
        assert opened.errors_outside_gradio() == []


def test_what_was_in_img2img_comes_back_by_one_button(world: WebUI):
    with open_page(world) as opened:
        strip = drawn(opened)
        tabs = opened.page.locator("#tabs > .tab-nav button")
        tabs.get_by_text("img2img", exact=True).click()
        opened.prompt("mine", tab="img2img")
        opened.number("img2img_steps", 11)
        before = opened.page.evaluate(STATE)
        tabs.get_by_text("txt2img", exact=True).click()
        strip.button("Inpaint tuxcat: cat").click()
        other = Strip(opened, "img2img")
        other.tells("tuxcat: cat is ready to be inpainted")
        other.image("img_inpaint_mask")
        assert opened.page.evaluate(STATE) != before
        other.button("Take it back").click()
        strip.button("Who draws what").wait_for()
        assert opened.element("txt2img_prompt").is_visible()
        opened.page.wait_for_timeout(1000)
        assert opened.page.evaluate(STATE) == before
        assert opened.page.locator("#img_inpaint_base img, #img_inpaint_mask img").count() == 0
        assert opened.page.evaluate("document.activeElement.innerText") == "Who draws what"
        assert opened.errors_outside_gradio() == []
