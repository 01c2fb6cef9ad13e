"""Hires. fix, img2img and inpainting one after the other on the page, as a person's hand goes."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from tests.webui.browser import WebUIPage, open_page
from tests.webui.jobs import last
from tests.webui.panel import PROMPT, SCREENSHOTS
from tests.webui.server import WebUI

GREEN = (120, 160, 90)


def passes(host: WebUI) -> list[str]:
    """Of the last job, which was composed."""
    told: dict[str, Any] = last(host)
    assert told["composed"] is True, told["error"]
    return [each["pass"] for each in told["batches"]]


def taken(opened: WebUIPage, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    opened.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def line(opened: WebUIPage, tab: str, words: str) -> None:
    """Wait until the panel of `tab` says these words."""
    opened.element(f"clora_{tab}_board").locator(".clora-line", has_text=words).wait_for()


def paint(opened: WebUIPage, element_id: str) -> None:
    """A stroke of the brush across a picture's left half. The page's brush follows the hand in its own time."""
    canvas = opened.element(element_id).locator("canvas").first
    canvas.wait_for()
    opened.page.wait_for_timeout(1000)
    box = canvas.bounding_box()
    assert box is not None
    mouse, pause = opened.page.mouse, opened.page.wait_for_timeout
    for along in (0.0, 0.1, 0.2):
        mouse.move(box["x"] + box["width"] * along, box["y"] + box["height"] * 0.45)
        pause(200)
    mouse.down()
    pause(200)
    for step in range(1, 9):
        across, down = 0.2 + 0.02 * step, 0.45 + 0.04 * step
        mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down, steps=4)
        pause(60)
    mouse.up()
    pause(800)


def ready(opened: WebUIPage, tab: str) -> None:
    """The panel of `tab` open, a prompt and a small job."""
    opened.prompt(PROMPT, tab=tab)
    opened.sampling(steps=8, width=128, height=128, seed=2, tab=tab)
    opened.element(f"clora_{tab}_enabled").locator(".label-wrap").first.click()
    line(opened, tab, "tuxcat on “cat”, browndog on “dog”")


def on_img2img(opened: WebUIPage) -> None:
    """The same in the tab img2img."""
    opened.page.locator("#tabs > .tab-nav button", has_text="img2img").click()
    ready(opened, "img2img")


def hires(opened: WebUIPage) -> None:
    """Ask for hires. fix, from 128 pixels to 192."""
    opened.element("txt2img_hr").locator(".label-wrap").first.click()
    opened.number("txt2img_hr_scale", 1.5)
    opened.number("txt2img_denoising_strength", 0.5)


def of_mode(opened: WebUIPage, name: str) -> None:
    """Choose how the picture is given."""
    opened.page.locator("#mode_img2img > .tab-nav button").get_by_text(name, exact=True).click()


def test_hires_then_img2img_then_inpainting(world: WebUI):
    with open_page(world) as opened:
        ready(opened, "txt2img")
        hires(opened)
        assert opened.generate().size == (192, 192)
        assert passes(world) == ["first", "hires"]
        taken(opened, "passes-1-hires")

        opened.element("txt2img_send_to_img2img").click()
        opened.element("img2img_generate").wait_for()
        line(opened, "img2img", "tuxcat on “cat”, browndog on “dog”")
        opened.number("img2img_denoising_strength", 0.6)
        assert opened.generate(tab="img2img").size == (192, 192)
        assert passes(world) == ["first"]
        taken(opened, "passes-2-img2img")

        opened.element("img2img_send_to_inpaint").click()
        paint(opened, "img2maskimg")
        opened.generate(tab="img2img")
        assert passes(world) == ["first"]
        taken(opened, "passes-3-inpainting")
        assert opened.errors_outside_gradio() == []


@pytest.mark.row("Passes and settings", "works", name="the upscale button")
def test_the_button_that_upscales_a_finished_picture_composes(world: WebUI):
    """Masks and LoRAs are found anew, for the picture may be of another time."""
    with open_page(world) as opened:
        ready(opened, "txt2img")
        assert opened.generate().size == (128, 128)
        hires(opened)
        assert opened.generate(button="upscale").size == (192, 192)
        assert passes(world) == ["hires"]
        (drawn,) = last(world)["batches"]
        assert drawn["steps"][0]["locked"] == 0
        assert drawn["steps"][-1]["locked"] == 1


@pytest.mark.row("Passes and settings", "works", name="img2img, batch from a folder")
def test_a_folder_of_pictures_is_composed_one_after_the_other(world: WebUI, tmp_path: Path):
    for name, shade in (("one", 90), ("two", 160)):
        Image.new("RGB", (128, 128), (shade, shade, shade)).save(tmp_path / f"{name}.png")
    with open_page(world) as opened:
        on_img2img(opened)
        of_mode(opened, "Batch")
        opened.page.locator("#img2img_batch_source > .tab-nav button", has_text="From directory").click()
        opened.element("img2img_batch_input_dir").locator("textarea").fill(str(tmp_path))
        opened.generate(tab="img2img")
        assert passes(world) == ["first"]
        thumbnails = opened.element("img2img_gallery").locator("button.thumbnail-item")
        sources = {each.locator("img").get_attribute("src") for each in thumbnails.all()}
        assert len(sources) == 2
        for source in sources:
            answer = world.get(str(source).removeprefix(world.url))
            with Image.open(io.BytesIO(answer.content)) as drawn:
                assert "CLoRA profile: fast" in drawn.info["parameters"]


@pytest.mark.row("Passes and settings", "works", name="sketch, inpaint sketch, inpaint upload")
def test_sketches_and_uploaded_masks_are_composed(world: WebUI, tmp_path: Path):
    picture, mask = tmp_path / "picture.png", tmp_path / "mask.png"
    Image.new("RGB", (128, 128), GREEN).save(picture)
    half = Image.new("RGB", (128, 128))
    half.paste((255, 255, 255), (0, 0, 64, 128))
    half.save(mask)
    ways = {
        "Sketch": {"img2img_sketch": picture},
        "Inpaint sketch": {"inpaint_sketch": picture},
        "Inpaint upload": {"img_inpaint_base": picture, "img_inpaint_mask": mask},
    }
    with open_page(world) as opened:
        on_img2img(opened)
        for mode, given in ways.items():
            of_mode(opened, mode)
            for element_id, path in given.items():
                opened.element(element_id).locator("input[type=file]").set_input_files(path)
            if "ketch" in mode:
                paint(opened, *given)
            drawn = opened.generate(tab="img2img")
            assert passes(world) == ["first"], mode
            taken(opened, f"passes-{mode.lower().replace(' ', '-')}")
            changed = ImageChops.difference(drawn, Image.new("RGB", drawn.size, GREEN)).getbbox()
            assert changed is not None, mode
            assert (changed[2] <= 80) == (mode != "Sketch"), f"{mode}: what is not painted over is kept"
