"""The page and the hand that uses it: nothing that somebody types or clicks is lost, overwritten or promised in vain.

Most of it is done with 300 ms more latency; with CLORA_SLOW=1 at once too, and with a server that takes 1.5 s.
"""

import io
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.webui.browser import JOB_MILLISECONDS, find_chromium
from tests.webui.hand import BOTH, CATS, SLOWLY, Hand, at_any_pace, open_hand
from tests.webui.jobs import last
from tests.webui.panel import JOB
from tests.webui.server import WebUI

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")


@pytest.fixture(scope="module")
def hand(world: WebUI) -> Iterator[Hand]:
    """One page for all tests of this file, with the panel and all in it open."""
    with open_hand(world) as panel:
        for name in ("more_box", "advanced_box"):
            if panel.element(name).count():
                panel.open(name)
        yield panel


# -- what is typed in the prompt stays ---------------------------------------------------------------------------------


@at_any_pace
def test_a_weight_is_written_while_the_prompt_is_typed_in(hand: Hand, latency: int):
    hand.begin(BOTH, latency)
    hand.entry("tuxcat").fill("0.6")
    hand.put_caret(5)
    hand.pause(600)
    hand.page.keyboard.type("XX YY", delay=60)
    hand.has(BOTH.replace("a cat", "a catXX YY").replace("tuxcat:1", "tuxcat:0.6"))
    assert hand.area.evaluate("area => [area.selectionStart, area.selectionEnd]") == [10, 10]
    hand.put_caret(17, 20)
    hand.page.evaluate("document.querySelector('.clora-row input[type=number]').focus({preventScroll: true})")
    hand.entry("tuxcat").fill("0.7")
    hand.area.focus()
    hand.has(BOTH.replace("a cat", "a catXX YY").replace("tuxcat:1", "tuxcat:0.7"))
    assert hand.area.evaluate("area => area.value.slice(area.selectionStart, area.selectionEnd)") == "dog"


@pytest.mark.parametrize("latency", [300, SLOWLY])
def test_a_prompt_that_is_pasted_is_not_taken_back(hand: Hand, latency: int):
    hand.begin(BOTH, latency)
    hand.entry("tuxcat").fill("0.6")
    hand.press("Tab")
    hand.area.fill("a dog and a house <lora:browndog:1>")
    hand.pause(600 + 3 * latency)
    hand.has("a dog and a house <lora:browndog:1>")


@at_any_pace
@pytest.mark.parametrize("place", ["prompt", "chip"])
def test_ctrl_z_takes_back_a_word_click_and_nothing_else(hand: Hand, latency: int, place: str):
    hand.begin(CATS, 0, "stands in 2 places")
    hand.put_caret(len("a cat, a cat and a dog in the grass"))
    hand.page.keyboard.type(" at noon")
    typed = CATS.replace("grass", "grass at noon")
    hand.says("stands in 2 places")
    hand.page.evaluate(f"window.latency = {latency}")
    hand.chip("cat", 2).click()
    if place == "prompt":
        hand.area.focus()
        hand.press("Control+z")
        hand.pause(600 + 3 * latency)
    else:
        hand.has(typed, "tuxcat: cat #2")
        hand.press("Control+z")
    hand.has(typed)
    hand.area.focus()
    hand.press("Control+z")
    expect(hand.area).not_to_have_value(typed)
    assert typed.startswith(hand.area.input_value().partition(" <")[0])


# -- WebUI's own tools go on working -----------------------------------------------------------------------------------


@at_any_pace
def test_a_card_takes_its_lora_out_and_back_with_its_word(hand: Hand, latency: int):
    hand.begin(CATS, latency, "stands in 2 places")
    hand.chip("cat", 2).click()
    hand.has(CATS, "tuxcat: cat #2")
    hand.click_card("tuxcat")
    hand.has(CATS.replace(" <lora:tuxcat:1>", ""))
    hand.click_card("tuxcat")
    hand.has(f"{CATS.replace(' <lora:tuxcat:1>', '')} <lora:tuxcat:1>", "tuxcat: cat #2")


@at_any_pace
def test_a_card_takes_out_a_tag_with_words_of_ours(hand: Hand, latency: int):
    hand.begin(BOTH.replace("tuxcat:1", "tuxcat:1:bind=cat"), latency)
    hand.click_card("tuxcat")
    hand.has(BOTH.replace(" <lora:tuxcat:1>", ""))


def test_ctrl_up_turns_the_weight_of_a_tag_with_words_of_ours(hand: Hand):
    hand.begin(BOTH.replace("tuxcat:1", "tuxcat:1:bind=cat"))
    hand.put_caret(BOTH.index("tuxcat") + 2)
    hand.press("Control+ArrowUp")
    hand.press("Control+ArrowUp")
    hand.has(BOTH.replace("tuxcat:1", "tuxcat:bind=cat:1.1"))
    hand.chip("grass").click()
    hand.has(BOTH.replace("tuxcat:1", "tuxcat:1.1"), "tuxcat: grass")


# -- numbers -----------------------------------------------------------------------------------------------------------


@at_any_pace
def test_every_key_counts(hand: Hand, latency: int):
    hand.begin(BOTH, latency)
    hand.entry("tuxcat").focus()
    for _ in range(8):
        hand.press("ArrowUp")
        hand.pause(60)
    expect(hand.entry("tuxcat")).to_have_value("1.4")
    hand.has(BOTH.replace("tuxcat:1", "tuxcat:1.4"))
    hand.pause(200 + latency)
    expect(hand.entry("tuxcat")).to_have_value("1.4")


@at_any_pace
def test_what_the_panel_shows_is_what_is_drawn(hand: Hand, latency: int):
    """Ctrl+Enter and a click on Generate wait for what has been typed and clicked just before."""
    hand.begin(CATS, latency, "stands in 2 places")
    hand.chip("cat", 2).click()
    text = hand.drawn(lambda: hand.page.locator("#txt2img_generate").click())
    assert '"subject": "cat", "occurrence": 2' in text.replace("\\", "")
    hand.entry("tuxcat").fill("0.5")
    assert "<lora:tuxcat:0.5>" in hand.drawn(lambda: hand.press("Control+Enter"))
    hand.knob("temperature").fill("0.4")
    assert "CLoRA temperature: 0.4" in hand.drawn(lambda: hand.press("Control+Enter"))
    hand.element("advanced").locator("textarea").fill("")


def test_a_weight_that_is_none_or_unusual_is_told(hand: Hand):
    hand.begin(BOTH)
    hand.entry("tuxcat").fill("")
    hand.press("Tab")
    expect(hand.line).to_contain_text("must be a number")
    expect(hand.entry("tuxcat")).to_have_value("1")
    hand.has(BOTH)
    for weight in ("-3", "99"):
        hand.entry("browndog").fill(weight)
        hand.press("Tab")
        hand.has(BOTH.replace("dog:1", f"dog:{weight}"))
        expect(hand.line).to_contain_text(f"The weight of browndog is {weight}")


def test_the_text_encoders_weight_is_kept(hand: Hand):
    hand.begin(BOTH.replace("tuxcat:1", "tuxcat:0.8:0.5"))
    hand.entry("tuxcat").fill("0.9")
    hand.press("Tab")
    hand.has(BOTH.replace("tuxcat:1", "tuxcat:0.8:0.9"))


# -- words -------------------------------------------------------------------------------------------------------------


def test_words_that_are_not_there_are_shown_and_go_with_their_lora(hand: Hand):
    hand.begin(BOTH)
    hand.entry("tuxcat", "Words").fill("red: cat")
    hand.press("Tab")
    expect(hand.line).to_contain_text("is not in the prompt")
    expect(hand.entry("tuxcat", "Words")).to_have_value("red: cat")
    hand.area.fill("a dog and a house <lora:browndog:1>")
    hand.has("a dog and a house <lora:browndog:1>")
    expect(hand.line).to_contain_text("browndog on “dog”")


def test_rows_and_line_say_the_same(hand: Hand):
    animals = "<lora:tuxcat:1> <lora:browndog:1> two animals, a kitten and a puppy, red hat"
    hand.begin(animals, says="tuxcat")
    for lora in ("tuxcat", "browndog"):
        expect(hand.entry(lora, "Words")).to_have_value("")


# -- keyboard, screen reader, places -----------------------------------------------------------------------------------


def test_the_keyboard_reaches_advanced_and_opens_it(hand: Hand):
    head = hand.element("advanced_box").locator(".label-wrap")
    hand.element("lock_at").locator("input[type=range]").focus()
    hand.press("Tab")
    expect(head).to_be_focused()
    before = head.get_attribute("aria-expanded")
    hand.press("Enter")
    expect(head).to_have_attribute("aria-expanded", "false" if before == "true" else "true")
    assert head.get_attribute("role") == "button"


def test_one_status_tells_all_that_comes(hand: Hand):
    """A screen reader reads what changes in it; one that has just come may go unread."""
    hand.begin(BOTH)
    hand.page.evaluate("window.told = document.querySelector('#clora_txt2img_board [role=status]')")
    hand.area.fill(CATS)
    expect(hand.line).to_contain_text("stands in 2 places")
    assert hand.page.evaluate("window.told.isConnected && window.told.textContent.includes('stands in 2 places')")


def test_nothing_lies_on_something_else(hand: Hand):
    hand.begin(BOTH)
    labels = [hand.row("tuxcat").get_by_text(name, exact=True) for name in ("Weight", "Draws", "Words", "Trigger")]
    tops = [label.bounding_box()["y"] for label in labels]
    assert max(tops) - min(tops) <= 1
    button, box = (hand.element(name).bounding_box() for name in ("report", "report_private"))
    assert button["x"] + button["width"] <= box["x"] or button["y"] + button["height"] <= box["y"]


# -- the line promises what the job does -------------------------------------------------------------------------------


def test_the_line_knows_what_is_chosen_elsewhere(hand: Hand):
    hand.begin(BOTH)
    hand.opened.element("txt2img_hr").locator(".label-wrap").first.click()
    hand.page.add_style_tag(content="#txt2img_hires_fix_row4 { display: flex !important; }")
    hand.page.locator("#hires_prompt textarea").fill("a cat and a dog <lora:browndog:1>")
    expect(hand.line).to_contain_text("The hires. fix prompt puts other LoRAs on subjects")
    hand.opened.element("txt2img_hr").locator(".label-wrap").first.click()
    expect(hand.line).to_contain_text("tuxcat on “cat”, browndog on “dog”")
    sampler = hand.opened.element("txt2img_sampling")
    sampler.locator("input").fill("DPM adaptive")
    sampler.locator("ul.options li", has_text="DPM adaptive").click()
    expect(hand.line).to_contain_text("DPM adaptive goes back and forth in time, so")
    sampler.locator("input").fill("DPM++ 2M")
    sampler.locator("ul.options li").first.click()
    expect(hand.line).not_to_contain_text("DPM adaptive")


def test_the_reason_of_a_refusal_stays_until_something_changes(hand: Hand):
    hand.begin(BOTH)
    hand.opened.choose_script("X/Y/Z plot")
    hand.opened.axis("x", "[CLoRA] Temperature", "0.5, 900")
    hand.page.locator("#txt2img_generate").click()
    expect(hand.line).to_contain_text("between 0.01 and 5")
    hand.pause(1000)
    expect(hand.line).to_contain_text("between 0.01 and 5")
    hand.area.fill(BOTH.replace("grass", "snow"))
    expect(hand.line).to_contain_text("tuxcat on “cat”, browndog on “dog”")
    hand.opened.choose_script("None")


def test_a_mask_that_is_no_picture_is_told(hand: Hand):
    hand.begin(BOTH)
    field = "#clora_txt2img_masks textarea"
    fill = f"text => {{ const field = document.querySelector('{field}'); field.value = text; updateInput(field); }}"
    hand.page.evaluate(fill, '{"tuxcat": {"mask": "AAAA", "mask_way": "fixed"}}')
    hand.row("tuxcat").get_by_role("button", name="Own mask").click()
    editor = hand.element("enabled").locator(".clora-mask")
    expect(editor.get_by_role("status")).to_contain_text("no picture that the browser can read")
    editor.get_by_role("button", name="Clear", exact=True).click()
    editor.get_by_role("button", name="Close", exact=True).click()
    assert hand.opened.errors_outside_gradio() == []


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_switched_off_it_says_that_words_in_tags_do_nothing(hand: Hand, tab: str):
    """As after a picture was sent to another tab, where the panel may be off."""
    page, log = hand.page, hand.page.locator(f"#html_log_{tab}").first
    page.locator("#tabs > .tab-nav button").get_by_text(tab, exact=True).click()
    hand.opened.sampling(**JOB, tab=tab)
    hand.opened.prompt(BOTH.replace("tuxcat:1", "tuxcat:bind=cat:1"), tab=tab)
    if tab == "img2img":
        picture = {"name": "grey.png", "mimeType": "image/png", "buffer": grey()}
        page.locator("#img2img_image input[type=file]").set_input_files(picture)
    else:
        hand.switch()
    page.locator(f"#{tab}_generate").click()
    expect(log).to_contain_text("CLoRA is off: what the tags of tuxcat say", timeout=JOB_MILLISECONDS)
    hand.opened.element(f"clora_{tab}_enabled").locator(".label-wrap").first.click()
    expect(hand.opened.element(f"clora_{tab}_board").locator(".clora-line")).to_contain_text("tuxcat on “cat”")
    page.locator(f"#{tab}_generate").click()
    expect(log).not_to_contain_text("CLoRA is off", timeout=JOB_MILLISECONDS)
    assert last(hand.opened.host)["composed"] is True


def grey() -> bytes:
    """A picture to begin with."""
    kept = io.BytesIO()
    Image.new("RGB", (128, 128), (128, 128, 128)).save(kept, "PNG")
    return kept.getvalue()
