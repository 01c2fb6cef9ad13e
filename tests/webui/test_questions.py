"""Questions of the panel are answered by a click, a word goes to who asks for it, and words that are lacking are added.

Done with 300 ms more latency; with CLORA_SLOW=1 at once too, and with a server that takes 1.5 s.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.webui.browser import find_chromium
from tests.webui.hand import BOTH, CATS, Hand, at_any_pace, open_hand
from tests.webui.server import WebUI

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")
TWO_WORDS = "<lora:tuxcat:1> a house, a cat and a dog in the grass <lora:browndog:1>"
"""A tag in front of all may mean the noun after it, or the one in the file's name."""


@pytest.fixture(scope="module")
def hand(world: WebUI) -> Iterator[Hand]:
    """One page for all tests of this file."""
    with open_hand(world) as panel:
        panel.unfold()
        yield panel


def question(hand: Hand, lora: str) -> Locator:
    return hand.row(lora).get_by_role("group", name=f"What does {lora} draw?")


def choose(hand: Hand, lora: str) -> None:
    """Have the words go to this LoRA."""
    hand.row(lora).get_by_role("radio").check()


@at_any_pace
def test_a_choice_of_two_words_is_one_click(hand: Hand, latency: int):
    hand.begin(TWO_WORDS, latency, "Is “tuxcat” the “house” or the “cat”?")
    expect(hand.line).not_to_contain_text("bind=")
    asked = question(hand, "tuxcat")
    expect(asked).to_have_text("Is tuxcat the house or the cat? If neither: everything (a style)only on browndog")
    asked.get_by_role("button", name="cat", exact=True).click()
    hand.has(TWO_WORDS, "tuxcat: cat")
    expect(hand.line).to_contain_text("tuxcat on “cat”, browndog on “dog”")
    expect(asked).to_have_count(0)


@at_any_pace
def test_the_keyboard_answers_and_stays_in_its_row(hand: Hand, latency: int):
    hand.begin(CATS, latency, "stands in 2 places")
    question(hand, "tuxcat").get_by_role("button", name="cat 2", exact=True).focus()
    hand.press("Enter")
    hand.has(CATS, "tuxcat: cat #2")
    expect(hand.row("tuxcat").get_by_role("radio")).to_be_focused()
    hand.press("Control+z")
    hand.has(CATS)
    expect(hand.line).to_contain_text("stands in 2 places")


@at_any_pace
def test_a_word_goes_to_who_asks_for_it_and_the_loser_is_named(hand: Hand, latency: int):
    hand.begin(BOTH, latency)
    choose(hand, "browndog")
    hand.chip("grass").click()
    hand.has(BOTH, "browndog: grass")
    expect(hand.line).to_contain_text("browndog on “grass”")
    choose(hand, "tuxcat")
    hand.chip("grass").click()
    hand.has(BOTH, "tuxcat: grass")
    expect(hand.line).to_contain_text("“grass” goes from browndog to tuxcat. tuxcat on “grass”, browndog on “dog”")
    hand.press("Control+z")
    hand.has(BOTH, "browndog: grass")
    expect(hand.line).not_to_contain_text("goes from")


@at_any_pace
def test_who_loses_the_only_word_that_fits_is_asked(hand: Hand, latency: int):
    hand.begin(BOTH, latency)
    choose(hand, "tuxcat")
    hand.chip("dog").click()
    hand.has(BOTH, "tuxcat: dog")
    expect(hand.line).to_have_text(
        "“dog” goes from browndog to tuxcat. What does “browndog” draw? “tuxcat” has its “dog”."
    )
    question(hand, "browndog").get_by_role("button", name="cat", exact=True).click()
    hand.has(BOTH, "tuxcat: dog\nbrowndog: cat")
    expect(hand.line).to_contain_text("tuxcat on “dog”, browndog on “cat”")


@at_any_pace
def test_a_click_on_its_own_word_keeps_it_and_another_takes_it_back(hand: Hand, latency: int):
    hand.begin(BOTH, latency)
    choose(hand, "tuxcat")
    hand.chip("cat").click()
    hand.has(BOTH, "tuxcat: cat")
    expect(hand.chip("cat")).to_have_attribute("title", "tuxcat (kept)")
    hand.chip("cat").click()
    hand.has(BOTH)
    expect(hand.chip("cat")).to_have_attribute("title", "tuxcat")


@at_any_pace
def test_words_that_are_lacking_are_added_while_the_prompt_is_typed_in(hand: Hand, latency: int):
    hand.begin(BOTH, latency)
    lacking = hand.row("tuxcat").get_by_role("group", name="Words of tuxcat")
    expect(lacking).to_have_text("tuxcat's words vako cat are not in the prompt: add vako")
    trigger = hand.entry("tuxcat", "Trigger")
    assert (trigger.input_value(), trigger.get_attribute("placeholder")) == ("", None), "an empty trigger looks empty"
    lacking.get_by_role("button", name="add vako").click()
    hand.area.focus()
    hand.press("Control+End")
    hand.page.keyboard.type(" at noon", delay=60)
    added = f"{BOTH.replace('a cat', 'a vako cat')} at noon"
    hand.has(added)
    expect(trigger).to_have_value("vako")
    expect(lacking).to_have_count(0)
    assert hand.area.evaluate("area => area.selectionStart") == len(added)


@at_any_pace
def test_ctrl_z_takes_back_an_added_word(hand: Hand, latency: int):
    hand.begin(BOTH, latency)
    hand.row("browndog").get_by_role("button", name="add pleko").click()
    hand.has(BOTH.replace("a dog", "a pleko dog"))
    hand.press("Control+z")
    hand.has(BOTH)


def test_a_lora_whose_thing_is_not_in_the_prompt_brings_its_words(hand: Hand):
    """Cards on an empty prompt: a click for each and there is a prompt."""
    tags = "<lora:tuxcat:1> <lora:browndog:1>"
    hand.begin(tags, 300, "What does “tuxcat” draw?")
    for lora, words in (("tuxcat", "vako cat"), ("browndog", "pleko dog")):
        hand.row(lora).get_by_role("button", name=f"add {words}").click()
        expect(question(hand, lora)).to_have_count(0)
    hand.has(f"vako cat, pleko dog {tags}")
    expect(hand.line).to_contain_text("tuxcat on “cat”, browndog on “dog”")


def test_a_screen_reader_finds_questions_and_answers_by_name(hand: Hand):
    hand.begin(CATS, 0, "stands in 2 places")
    tree = [line.strip(" -").rstrip(":") for line in hand.board.aria_snapshot().splitlines()]
    for said in (
        'group "What does tuxcat draw?"',
        'button "cat 1"',
        'group "Words of browndog"',
        'button "add pleko"',
    ):
        assert said in tree
