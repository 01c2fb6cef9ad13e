"""The panel's fields, in a real browser: restored from a picture, knobs as controls and as text, presets, plots."""

import pytest

from clora_ext.settings.knobs import KNOB
from tests.webui.browser import find_chromium, open_page
from tests.webui.jobs import last
from tests.webui.panel import JOB, PROMPT, Panel, by_api
from tests.webui.server import WebUI, pixel_sha1
from tests.webui.test_knobs import MAIN

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")


def test_a_picture_sent_back_restores_every_field(world: WebUI):
    """A knob that differs from its profile is pasted along with the profile, and must survive it."""
    bindings = [{"lora": "tuxcat", "subject": "cat"}, {"lora": "browndog", "subject": "dog", "weight": 1.1}]
    with open_page(world) as page:
        panel = Panel(page)
        page.prompt(PROMPT)
        page.sampling(**JOB)
        panel.switch()
        panel.unfold()
        panel.choose_profile("authors")
        panel.holds("mask_threshold", "0.3")
        panel.open("advanced_box")
        panel.knob("temperature").fill("0.4")
        page.page.keyboard.press("Tab")
        page.number("clora_txt2img_mask_threshold", 0.41)
        panel.element("bindings").locator("textarea").fill("tuxcat: cat\nbrowndog: dog, weight=1.1")
        first = page.generate()
        picture = page.shown_file()
    turned = {"profile": "authors", "mask_threshold": 0.41, "temperature": 0.4}
    assert pixel_sha1(first) == by_api(world, **turned, bindings=bindings)
    with open_page(world) as page:
        panel = Panel(page)
        page.send_to_txt2img(picture)
        panel.screenshot("4-sent-back")
        assert panel.element("profile").is_visible()
        assert (panel.profile, panel.field("mask_threshold")) == ("authors", "0.41")
        assert panel.field("advanced") == "temperature = 0.4"
        assert panel.field("bindings") == "tuxcat: cat\nbrowndog: dog, weight=1.1"
        assert pixel_sha1(page.generate()) == pixel_sha1(first)
    settings = last(world)["settings"]
    assert (settings["mask_threshold"], settings["step_size"], settings["route"]) == (0.41, 20.0, False)


def test_a_picture_made_without_us_switches_the_panel_off(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        page.prompt(PROMPT)
        page.sampling(**JOB)
        plain = page.generate()
        picture = page.shown_file()
        panel.switch()
        page.send_to_txt2img(picture)
        assert not panel.element("profile").is_visible()
        assert pixel_sha1(page.generate()) == pixel_sha1(plain)


def test_advanced_knobs_are_controls_and_text_in_step(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        page.prompt(PROMPT)
        page.sampling(**JOB)
        panel.switch()
        assert page.page.locator(".clora-knob").count() == 0, "they are drawn when they are looked at"
        panel.open("advanced_box")
        for name in set(KNOB) - set(MAIN):
            control = panel.knob(name)
            assert control.get_attribute("id") == f"clora_txt2img_knob_{name}"
            assert page.page.locator(f"#clora_txt2img_knob_{name}_help").inner_text() == KNOB[name].help
            assert control.get_attribute("aria-describedby") == f"clora_txt2img_knob_{name}_help"
        assert panel.knob("text_encoder").is_checked()
        panel.knob("uncond").select_option("shared")
        panel.knob("text_encoder").press("Space")
        panel.holds("advanced", "uncond = shared\ntext_encoder = false")
        text = panel.element("advanced").locator("textarea")
        text.fill("rounds_at = 0, 10, overlap = soft, ")
        panel.shows("overlap", "soft")
        panel.shows("rounds_at", "0, 10")
        assert panel.knob("text_encoder").is_checked()
        panel.knob("overlap").select_option("strongest")
        panel.holds("advanced", "rounds_at = 0, 10")
        panel.screenshot("8-advanced", whole=False)
        composed = pixel_sha1(page.generate())
        panel.choose_profile("paper")
        panel.holds("advanced", "")
        panel.shows("rounds_at", "0, 10, 20")
        assert page.errors_outside_gradio() == []
    assert composed == by_api(world, rounds_at="0, 10")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("temperature = 900", "“temperature” is '900'; it must be between 0.01 and 5."),
        ("step_sise = 4", "There is no setting “step_sise”"),
        ("mask_threshold = 0.3", "“Mask threshold” has a field of its own"),
        ("soft", "“soft” is no setting with its value"),
    ],
)
def test_a_wrong_advanced_setting_is_told_and_refused(world: WebUI, text: str, words: str):
    with open_page(world) as page:
        panel = Panel(page)
        page.prompt(PROMPT)
        page.sampling(**JOB)
        panel.switch()
        panel.open("advanced_box")
        panel.element("advanced").locator("textarea").fill(text)
        panel.says(words)
        page.element("txt2img_generate").click()
        page.element("html_log_txt2img").get_by_text(f"CLoRA: {words}").first.wait_for()
        assert panel.pictures() == 0
        panel.switch()
        page.generate()  # off is off, whatever stands there
        assert page.errors_outside_gradio() == []


def test_presets_are_saved_loaded_and_reset(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        panel.unfold()
        page.number("clora_txt2img_mask_threshold", 0.5)
        panel.open("advanced_box")
        panel.element("advanced").locator("textarea").fill("uncond = shared")
        panel.open("presets")
        panel.element("preset_name").fill("mine")
        panel.element("preset_save").press("Enter")
        panel.told("Saved “mine”")
        assert '"mask_threshold": 0.5' in panel.element("preset_text").input_value()
        panel.screenshot("5-presets", whole=False)
        panel.element("reset").click()
        panel.turned("All settings are as at first.")
        panel.holds("mask_threshold", "0.35")
        panel.holds("advanced", "")
        panel.element("preset_load").click()
        panel.holds("mask_threshold", "0.5")
        panel.holds("advanced", "uncond = shared")
        panel.element("preset_text").fill('{"step_sise": 1}')
        panel.element("preset_apply").click()
        panel.told("step_sise")
        panel.element("preset_text").fill('{"profile": "authors", "overlap": "soft"}')
        panel.element("preset_apply").click()
        panel.told("Applied")
        assert panel.profile == "authors"
        panel.holds("advanced", "overlap = soft")
        assert page.page.locator("#clora_txt2img_preset_names option").count() == 1
        answers = iter((False, False, True))
        page.page.on("dialog", lambda asked: asked.accept() if next(answers) else asked.dismiss())
        panel.element("preset_save").click()
        panel.element("preset_delete").click()
        assert page.page.locator("#clora_txt2img_preset_names option").count() == 1, "it was asked, and not confirmed"
        panel.element("preset_delete").click()
        panel.told("Deleted")
        assert list(answers) == []
        assert page.errors_outside_gradio() == []
    assert world.get("/clora/v1/presets").json() == {}


def test_a_plot_over_methods(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        page.prompt(PROMPT)
        page.sampling(**JOB)
        panel.switch()
        page.choose_script("X/Y/Z plot")
        page.axis("x", "[CLoRA] Method", "clora, merge")
        image = page.generate()
        panel.screenshot("6-plot")
    assert image.width >= 2 * JOB["width"]


def test_what_is_being_typed_survives_an_answer(world: WebUI):
    """Fields that change by themselves, as after a profile was chosen, leave a control alone while it is typed in."""
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        panel.open("advanced_box")
        panel.knob("temperature").fill("0.4")
        page.page.evaluate(
            "field => { field.value = 'uncond = shared'; field.dispatchEvent(new Event('input', {bubbles: true})); }",
            panel.element("advanced").locator("textarea").element_handle(),
        )
        panel.shows("uncond", "shared")
        panel.shows("temperature", "0.4")
        page.page.keyboard.press("Tab")
        panel.holds("advanced", "uncond = shared\ntemperature = 0.4")
