"""Hires. fix, img2img and inpainting one after the other on the page, as a person's hand goes."""

from typing import Any

from tests.webui.browser import WebUIPage, open_page
from tests.webui.jobs import last
from tests.webui.panel import PROMPT, SCREENSHOTS
from tests.webui.server import WebUI


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


def test_hires_then_img2img_then_inpainting(world: WebUI):
    with open_page(world) as opened:
        opened.prompt(PROMPT)
        opened.sampling(steps=8, width=128, height=128, seed=2)
        opened.element("clora_txt2img_enabled").locator(".label-wrap").first.click()
        line(opened, "txt2img", "tuxcat on “cat”, browndog on “dog”")
        opened.element("txt2img_hr").locator(".label-wrap").first.click()
        opened.number("txt2img_hr_scale", 1.5)
        opened.number("txt2img_denoising_strength", 0.5)
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
        canvas = opened.element("img2maskimg").locator("canvas").first
        canvas.wait_for()
        opened.page.wait_for_timeout(1000)
        box = canvas.bounding_box()
        assert box is not None
        opened.page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.45)
        opened.page.mouse.down()
        for step in range(1, 9):
            opened.page.mouse.move(
                box["x"] + box["width"] * (0.2 + 0.02 * step), box["y"] + box["height"] * (0.45 + 0.04 * step)
            )
        opened.page.mouse.up()
        opened.generate(tab="img2img")
        assert passes(world) == ["first"]
        taken(opened, "passes-3-inpainting")
        assert opened.errors_outside_gradio() == []
