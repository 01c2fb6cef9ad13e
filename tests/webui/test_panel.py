"""What a person does with the panel, in a real browser on the tiny world.

Every step leaves a screenshot in out/screenshots, to look at; `make screenshots` puts some of them into docs/.
"""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clora_ext.settings import KNOB
from tests.webui.browser import WebUIPage, find_chromium, open_page
from tests.webui.jobs import last
from tests.webui.server import WebUI, pixel_sha1
from tests.webui.test_knobs import MAIN
from tests.webui.test_routes import HOSTILE
from tiny_world.judge import Judge, verdict

SCREENSHOTS = Path(__file__).resolve().parents[2] / "out" / "screenshots"
PROMPT = "a vako cat <lora:tuxcat:1> and a pleko dog <lora:browndog:1> in the grass"
UNBOUND = "a cat, a cat and a dog in the grass <lora:tuxcat:1.2> <lora:browndog:1.2>"
JOB = {"steps": 6, "width": 128, "height": 128, "seed": 1}
PAGE = {"sampler_name": "DPM++ 2M", "scheduler": "Automatic", "cfg_scale": 7.0}
"""What a fresh page has chosen."""

SPOKEN = ("button", "checkbox", "combobox", "radio", "slider", "spinbutton", "textbox")
"""Roles of what can be used."""

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")


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

    def choose(self, name: str, value: str) -> None:
        """Choose from a dropdown with the mouse."""
        self.element(name).locator("input").first.click()
        self.element(name).locator("ul.options li", has_text=value).first.click()

    def field(self, name: str) -> str:
        """What a text or number field holds."""
        return self.element(name).locator("textarea, input:not([type=range])").first.input_value()

    def says(self, words: str) -> None:
        """Wait until the live line has these words."""
        self.board.locator(".clora-line", has_text=words).wait_for()

    def told(self, words: str) -> None:
        """Wait until the presets' own line has these words."""
        self.page.locator("#clora_txt2img_preset_told", has_text=words).wait_for()

    def open(self, name: str) -> None:
        """Click the title of an accordion in the panel."""
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


def test_the_panel_makes_the_picture_of_the_api_and_off_is_plain(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        page.prompt(PROMPT)
        page.sampling(**JOB)
        plain = pixel_sha1(page.generate())
        panel.switch()
        composed = pixel_sha1(page.generate())
        assert "CLoRA profile: balanced" in page.infotext()
        panel.switch()
        assert pixel_sha1(page.generate()) == plain
        assert "CLoRA" not in page.infotext()
        assert page.errors_outside_gradio() == []
    assert composed == by_api(world)
    assert plain == world.txt2img(prompt=PROMPT, **JOB, **PAGE).sha1 != composed


def test_a_person_binds_by_pointing_and_sees_the_masks(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        page.sampling(**JOB)
        panel.switch()
        panel.screenshot("1-open")
        page.prompt(UNBOUND)
        panel.says("stands in 2 places")
        assert panel.board.locator(".clora-row").count() == 2
        panel.screenshot("2-something-is-missing", whole=False)
        panel.chip("cat", 2).click()  # tuxcat is chosen: it is the first without a word
        panel.says("tuxcat on “cat” (number 2), browndog on “dog”")
        assert "<lora:tuxcat:1.2:bind=cat:occurrence=2>" in panel.prompt
        panel.row("browndog").get_by_role("radio").focus()
        page.page.keyboard.press("Space")
        panel.chip("grass").focus()
        page.page.keyboard.press("Enter")
        panel.says("browndog on “grass”")
        assert page.page.evaluate("document.activeElement.innerText") == "grass", "the focus stays"
        panel.chip("dog").click()
        panel.says("browndog on “dog”")
        panel.row("browndog").get_by_label("Weight").fill("1.1")
        page.page.keyboard.press("Tab")
        page.page.wait_for_function("document.querySelector('#txt2img_prompt textarea').value.includes('browndog:1.1')")
        panel.row("tuxcat").get_by_label("Draws").select_option("style on browndog")
        panel.says("tuxcat on what browndog draws")
        panel.row("tuxcat").get_by_label("Draws").select_option("its words")
        panel.says("stands in 2 places")
        panel.chip("cat").click()
        panel.says("tuxcat on “cat” (number 1), browndog on “dog”")
        assert panel.prompt == (
            "a cat, a cat and a dog in the grass <lora:tuxcat:1.2:bind=cat:occurrence=1> <lora:browndog:1.1:bind=dog>"
        )
        panel.element("show_masks").locator("input").click()
        image = page.generate()
        assert panel.pictures() == 2
        panel.screenshot("3-drawn")
        bound = panel.prompt
        assert page.errors_outside_gradio() == []
    assert pixel_sha1(image) == by_api(world, bound)


def test_several_words_are_bound_by_pointing(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        page.prompt("a farm house cat, a house cat and a dog <lora:tuxcat:1> <lora:browndog:1>")
        panel.says("stands in 2 places")
        panel.chip("cat", 2).click()
        panel.says("tuxcat on “cat” (number 2)")
        panel.chip("house", 2).click(modifiers=["Shift"])
        panel.says("tuxcat on “house cat” (number 2), browndog on “dog”")
        assert "<lora:tuxcat:1:bind=house cat:occurrence=2>" in panel.prompt
        panel.chip("cat").click()
        panel.says("tuxcat on “cat” (number 1)")
        panel.chip("farm").focus()
        page.page.keyboard.press("Shift+Enter")
        panel.says("tuxcat on “farm house cat”, browndog on “dog”")
        assert "<lora:tuxcat:1:bind=farm house cat>" in panel.prompt
        assert panel.board.locator(".clora-owned bdi").all_inner_texts() == ["farm", "house", "cat", "dog"]
        panel.chip("house").click()
        panel.says("stands in 2 places")
        assert page.errors_outside_gradio() == []


def test_a_screen_reader_finds_every_control_by_its_name(world: WebUI):
    """What is read aloud comes from the browser's own tree of roles and names."""
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        page.prompt(PROMPT)
        panel.says("tuxcat on “cat”")
        panel.open("advanced_box")
        panel.open("presets")
        page.page.locator("#clora_txt2img_preset_name").wait_for()
        tree = panel.element("enabled").aria_snapshot()
    controls = [line.strip(" -").rstrip(":") for line in tree.splitlines() if line.strip(" -").split(" ")[0] in SPOKEN]
    assert len(controls) > len(KNOB)
    assert [control for control in controls if '"' not in control] == []
    for said in ('group "tuxcat"', 'radio "tuxcat" [checked]', 'button "cat" [pressed]', 'spinbutton "Weight"'):
        assert any(line.strip(" -").startswith(said) for line in tree.splitlines()), said


def test_a_picture_sent_back_restores_every_field(world: WebUI):
    """A knob that differs from its profile is pasted along with the profile, and must survive it."""
    bindings = [{"lora": "tuxcat", "subject": "cat"}, {"lora": "browndog", "subject": "dog", "weight": 1.1}]
    with open_page(world) as page:
        panel = Panel(page)
        page.prompt(PROMPT)
        page.sampling(**JOB)
        panel.switch()
        panel.choose("profile", "authors")
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
        assert panel.element("bindings").locator("textarea").is_visible()
        assert (panel.field("profile"), panel.field("mask_threshold")) == ("authors", "0.41")
        assert panel.field("advanced") == "temperature = 0.4"
        assert panel.field("bindings") == "tuxcat: cat\nbrowndog: dog, weight=1.1"
        assert pixel_sha1(page.generate()) == pixel_sha1(first)
    settings = last(world)["settings"]
    assert (settings["mask_threshold"], settings["step_size"], settings["refresh"]) == (0.41, 20.0, False)


def test_a_picture_made_without_us_switches_the_panel_off(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        page.prompt(PROMPT)
        page.sampling(**JOB)
        plain = page.generate()
        picture = page.shown_file()
        panel.switch()
        page.send_to_txt2img(picture)
        assert not panel.element("bindings").locator("textarea").is_visible()
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
        assert not panel.knob("refresh").is_checked()
        panel.knob("uncond").select_option("shared")
        panel.knob("refresh").press("Space")
        panel.holds("advanced", "uncond = shared\nrefresh = true")
        text = panel.element("advanced").locator("textarea")
        text.fill("rounds_at = 0, 10, overlap = soft, ")
        panel.shows("overlap", "soft")
        panel.shows("rounds_at", "0, 10")
        assert not panel.knob("refresh").is_checked()
        panel.knob("overlap").select_option("strongest")
        panel.holds("advanced", "rounds_at = 0, 10")
        panel.screenshot("8-advanced", whole=False)
        composed = pixel_sha1(page.generate())
        panel.choose("profile", "paper")
        panel.holds("advanced", "")
        panel.shows("rounds_at", "0, 10, 20")
        assert page.errors_outside_gradio() == []
    assert composed == by_api(world, rounds_at="0, 10")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("temperature = 900", "“temperature” is '900'; it must be between 0.01 and 5."),
        ("step_sise = 4", "There is no setting “step_sise”"),
        ("mask_threshold = 0.3", "“Mask threshold (lambda)” has a field of its own"),
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
        page.element("html_log_txt2img").get_by_text(words).first.wait_for()
        assert panel.pictures() == 0
        panel.switch()
        page.generate()  # off is off, whatever stands there
        assert page.errors_outside_gradio() == []


def test_presets_are_saved_loaded_and_reset(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        page.number("clora_txt2img_mask_threshold", 0.5)
        panel.open("advanced_box")
        panel.element("advanced").locator("textarea").fill("uncond = shared")
        panel.open("presets")
        panel.element("preset_name").fill("mine")
        panel.element("preset_save").press("Enter")
        panel.told("Saved “mine”")
        assert '"mask_threshold": 0.5' in panel.element("preset_text").input_value()
        panel.screenshot("5-presets", whole=False)
        panel.element("preset_reset").click()
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
        panel.holds("profile", "authors")
        panel.holds("advanced", "overlap = soft")
        assert page.page.locator("#clora_txt2img_preset_names option").count() == 1
        panel.element("preset_delete").click()
        panel.told("Deleted")
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


def test_without_our_script_the_text_fields_remain(world: WebUI):
    with open_page(world) as page:
        page.page.route("**/clora.js*", lambda route: route.abort())
        page.page.reload()
        panel = Panel(page)
        page.element("txt2img_generate").wait_for()
        page.page.wait_for_function("() => window.opts && Object.keys(window.opts).length > 0")
        page.prompt(UNBOUND)
        panel.switch()
        panel.element("bindings").locator("textarea").fill("tuxcat: cat #2")
        page.sampling(**JOB)
        panel.open("advanced_box")
        text = panel.element("advanced").locator("textarea")
        text.fill("temperature = 900")
        panel.element("check").click()
        page.page.wait_for_function(
            "document.querySelector('#clora_txt2img_line textarea').value.includes('between 0.01 and 5')"
        )
        text.fill("temperature = 0.4")
        panel.element("check").click()
        page.page.wait_for_function(
            "document.querySelector('#clora_txt2img_line textarea').value.startsWith('tuxcat on')"
        )
        assert "(number 2), browndog on “dog”" in panel.field("line")
        page.generate()
        assert last(world)["settings"]["temperature"] == 0.4
        assert page.page.evaluate("window.clora") is None
        assert page.errors_outside_gradio() == []


def test_hostile_text_is_only_text(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        title = page.page.title()
        panel.switch()
        for text in HOSTILE:
            name = text.replace("\x00", "")
            page.prompt(f"a cat {name} <lora:{name.replace('>', '')}:1> <lora:tuxcat:1:bind=cat:trigger={name[:40]}>")
            panel.element("bindings").locator("textarea").fill(name)
            page.page.wait_for_timeout(600)
            assert panel.board.locator("img").count() == 0
        panel.element("bindings").locator("textarea").fill("")
        page.prompt(f"a cat <lora:{HOSTILE[0].replace('>', '')}:1>")
        panel.says("There is no LoRA “<img src=x onerror=")
        assert page.page.title() == title
        panel.screenshot("7-hostile", whole=False)
        page.prompt(PROMPT)
        panel.says("tuxcat on “cat”, browndog on “dog”")
        assert page.errors_outside_gradio() == []


COUNT = """() => {
    const written = new Set();
    window.clicks = 0;
    window.actions = () => window.clicks + written.size;
    document.addEventListener('pointerdown', () => { window.clicks += 1; }, true);
    document.addEventListener('input', ({target}) => { if (target.matches('textarea')) written.add(target); }, true);
}"""
"""Counts what a hand does on the page: each click, and each text field that is written in."""


def test_at_most_four_actions_to_two_characters(world: WebUI):
    """Of the small model's own size; one of three seeds must be right to the judge."""
    judge = Judge.load()
    for seed in (1, 2, 3):
        with open_page(world) as page:
            page.sampling(steps=20, width=128, height=128, seed=seed)
            page.page.evaluate(COUNT)
            page.prompt("a vako cat and a pleko dog in the grass <lora:tuxcat:1> <lora:browndog:1>")
            Panel(page).switch()
            image = page.generate()
            assert 3 <= page.page.evaluate("window.actions()") <= 4
        if verdict(judge.find(image), ("tuxcat", "browndog")).right:
            return
    pytest.fail("none of three seeds has both subjects")
