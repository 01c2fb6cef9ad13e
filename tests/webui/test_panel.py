"""What a person does with the panel, in a real browser on the tiny world: compose, bind by pointing, switch off."""

import pytest

from clora_ext.settings.knobs import KNOB
from tests.webui.browser import find_chromium, open_page
from tests.webui.jobs import last
from tests.webui.panel import JOB, PAGE, PROMPT, UNBOUND, Panel, by_api
from tests.webui.server import WebUI, pixel_sha1
from tests.webui.test_routes import HOSTILE

SPOKEN = ("button", "checkbox", "combobox", "radio", "slider", "spinbutton", "textbox")
"""Roles of what can be used."""

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")


def test_the_panel_makes_the_picture_of_the_api_and_off_is_plain(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        page.prompt(PROMPT)
        page.sampling(**JOB)
        plain = pixel_sha1(page.generate())
        panel.switch()
        composed = pixel_sha1(page.generate())
        assert "CLoRA profile: fast" in page.infotext()
        panel.switch()
        assert pixel_sha1(page.generate()) == plain
        assert "CLoRA" not in page.infotext()
        assert page.errors_outside_gradio() == []
    assert composed == by_api(world)
    assert plain == world.txt2img(prompt=PROMPT, **JOB, **PAGE).sha1 != composed


def test_a_question_has_a_button_for_each_answer(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        panel.switch()
        page.prompt("a vako cat and a house <lora:tuxcat:1> <lora:spotdog:1> <lora:lineart:0.5>")
        panel.says("“spotdog”")
        question = panel.row("spotdog").get_by_role("group", name="What does spotdog draw?")
        answers = question.get_by_role("button").all_inner_texts()
        assert {"house", "everything (a style)", "only on tuxcat"} <= set(answers)
        question.get_by_role("button", name="only on tuxcat").click()
        panel.says("spotdog on what tuxcat draws")
        panel.row("spotdog").get_by_label("Draws").select_option("its words")
        question.get_by_role("button", name="house").click()
        panel.says("spotdog on “house”, lineart everywhere (by its activation text)")
        assert panel.field("bindings") == "spotdog: house"
        assert page.errors_outside_gradio() == []


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
        assert (panel.prompt, panel.field("bindings")) == (UNBOUND, "tuxcat: cat #2")
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
        panel.row("tuxcat").get_by_label("Draws").select_option("only on browndog")
        panel.says("tuxcat on what browndog draws")
        panel.row("tuxcat").get_by_label("Draws").select_option("its words")
        panel.says("stands in 2 places")
        panel.chip("cat").click()
        panel.says("tuxcat on “cat” (number 1), browndog on “dog”")
        assert panel.prompt == "a cat, a cat and a dog in the grass <lora:tuxcat:1.2> <lora:browndog:1.1>"
        bindings = "browndog: dog\ntuxcat: cat #1"
        assert panel.field("bindings") == bindings
        panel.element("show_masks").locator("input").click()
        image = page.generate()
        assert panel.pictures() == 2
        panel.screenshot("3-drawn")
        prompt = panel.prompt
        assert page.errors_outside_gradio() == []
    assert pixel_sha1(image) == by_api(world, prompt, bindings=bindings)


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
        assert panel.field("bindings") == "tuxcat: house cat #2"
        panel.chip("cat").click()
        panel.says("tuxcat on “cat” (number 1)")
        panel.chip("farm").focus()
        page.page.keyboard.press("Shift+Enter")
        panel.says("tuxcat on “farm house cat”, browndog on “dog”")
        assert panel.field("bindings") == "tuxcat: farm house cat"
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


def test_without_our_script_a_text_field_remains(world: WebUI):
    with open_page(world) as page:
        page.page.route("**/clora.js*", lambda route: route.abort())
        page.page.reload()
        panel = Panel(page)
        page.element("txt2img_generate").wait_for()
        page.page.wait_for_function("() => window.opts && Object.keys(window.opts).length > 0")
        page.prompt(UNBOUND)
        panel.switch()
        page.sampling(**JOB)
        text = panel.element("fields").locator("textarea")
        text.fill('{"bindings": "tuxcat: cat #2", "advanced": "temperature = 900"}')
        panel.element("check").click()
        page.page.wait_for_function(
            "document.querySelector('#clora_txt2img_line textarea').value.includes('between 0.01 and 5')"
        )
        text.fill('{"bindings": "tuxcat: cat #2", "advanced": "temperature = 0.4"}')
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
        panel.unfold()
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
