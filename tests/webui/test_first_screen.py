"""The panel's first screen, in a real browser: how tall it is, what is folded, how it looks, and what it says."""

from pathlib import Path

import pytest

from tests.webui.browser import find_chromium, open_page
from tests.webui.jobs import last
from tests.webui.panel import JOB, PROMPT, UNBOUND, Panel
from tests.webui.server import WebUI

TALLEST = 400
"""Pixels of the panel with two LoRAs, in a window of 1400."""

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")

SIZES = ("steps", "width", "height")
IN_SIGHT = ("profile", "show_masks", "preview", "reset", "more_box")
FOLDED = ("method", "bindings", "step_size", "mask_threshold", "advanced", "presets", "report")


def height(panel: Panel) -> float:
    box = panel.element("enabled").bounding_box()
    assert box is not None
    return box["height"]


def look(panel: Panel) -> tuple[str, str]:
    """The sign and the tint of the line."""
    sign, tint = panel.board.locator(".clora-line").evaluate(
        "line => [getComputedStyle(line, '::before').content, getComputedStyle(line).backgroundColor]"
    )
    return sign, tint


def test_the_first_screen_is_small_and_has_one_choice(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        panel.says("No LoRA yet: add two from the Lora tab.")
        panel.screenshot("first-1-empty", whole=False)
        assert height(panel) <= TALLEST / 2
        page.prompt(PROMPT)
        panel.says("tuxcat on “cat”, browndog on “dog”")
        panel.screenshot("first-2-two", whole=False)
        assert height(panel) <= TALLEST
        assert all(panel.element(name).is_visible() for name in IN_SIGHT)
        assert not any(panel.element(name).is_visible() for name in FOLDED)
        choices = panel.element("profile").get_by_role("radio")
        assert [choice.input_value() for choice in choices.all() if choice.is_visible()] == ["fast", "balanced"]
        panel.unfold()
        panel.element("method").wait_for()
        assert all(panel.element(name).is_visible() for name in FOLDED if name != "advanced")
        assert choices.count() == len([choice for choice in choices.all() if choice.is_visible()]) == 4
        assert page.errors_outside_gradio() == []


def test_fine_and_wrong_have_signs_and_tints_of_their_own(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        page.prompt(PROMPT)
        panel.says("tuxcat on “cat”, browndog on “dog”")
        fine = look(panel)
        assert panel.board.locator(".clora-asks, .clora-candidate").count() == 0
        page.prompt(UNBOUND)
        panel.says("stands in 2 places")
        panel.screenshot("first-3-question", whole=False)
        wrong = look(panel)
        assert "✓" in fine[0]
        assert "✗" in wrong[0]
        assert fine[1] != wrong[1]
        assert panel.board.locator(".clora-asks").all_inner_texts()[0].startswith("tuxcat")
        assert panel.board.locator(".clora-candidate bdi").all_inner_texts() == ["cat", "cat"], (
            "grass is not asked about"
        )
        assert page.errors_outside_gradio() == []


def test_another_profile_says_what_it_turns_and_reset_takes_all_back(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        panel.unfold()
        page.number("clora_txt2img_mask_threshold", 0.41)
        panel.open("advanced_box")
        panel.element("advanced").locator("textarea").fill("temperature = 0.4")
        panel.choose_profile("balanced")
        panel.turned("Turned by the profile: Mask threshold 0.41 → 0.35. Dropped: temperature = 0.4.")
        panel.holds("advanced", "")
        panel.element("show_masks").locator("input").check()
        panel.element("reset").click()
        panel.turned("All settings are as at first.")
        assert panel.profile == "fast"
        assert not panel.element("show_masks").locator("input").is_checked()
        assert page.errors_outside_gradio() == []


def test_the_switch_for_the_live_preview_is_that_of_the_settings_page(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        panel.element("preview").locator("input").check()
        page.page.wait_for_timeout(500)
        assert world.get("/sdapi/v1/options").json()["clora_preview_masks"] is True
        assert '"clora_preview_masks": true' in Path(world.data_dir, "config.json").read_text(encoding="utf-8")
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        panel.element("preview").wait_for()
        assert panel.element("preview").locator("input").is_checked(), "also on a new page"
        panel.element("preview").locator("input").uncheck()
        page.page.wait_for_timeout(500)
    assert world.get("/sdapi/v1/options").json()["clora_preview_masks"] is False


def test_the_line_says_how_long_a_picture_takes_once_some_were_drawn(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        page.prompt(PROMPT)
        page.sampling(**JOB)
        page.generate()
        panel.switch()
        panel.says("× as long as without CLoRA")
        page.generate()
        page.prompt(f"{PROMPT} ")
        panel.says(" a picture, ")
        found = world.post("/clora/v1/estimate", {"prompt": PROMPT, **{name: JOB[name] for name in SIZES}}).json()
        took = last(world)["job_seconds"]
        tooltip = panel.board.locator(".clora-line").get_attribute("title") or ""
    assert "UNet rows" in tooltip
    assert tooltip.endswith("× the FLOPs")
    assert found["estimate"]["seconds"] == pytest.approx(took, rel=0.2, abs=0.2)
    assert 0 < found["estimate"]["plain_seconds"] != found["estimate"]["seconds"]


def test_the_first_screen_fits_a_narrow_and_dark_window(world: WebUI):
    with open_page(world) as page:
        page.page.set_viewport_size({"width": 420, "height": 1000})
        page.reopen("/?__theme=dark")
        panel = Panel(page)
        panel.switch()
        page.prompt("a cat and a dog <lora:tuxcat:1> <lora:nobody:1>")
        panel.says("There is no LoRA “nobody”")
        panel.screenshot("first-5-narrow-dark-error", whole=False)
        wider = "panel => [...panel.querySelectorAll('*')].filter((each) => each.getBoundingClientRect().right > 420)"
        assert panel.element("enabled").evaluate(f"panel => ({wider})(panel).length") == 0
        assert page.errors_outside_gradio() == []
