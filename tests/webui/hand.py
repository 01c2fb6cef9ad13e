"""The page and the hand that uses it: one page for all tests of a file, with answers that come as late as asked."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Locator, expect

from tests.slow import needs_time
from tests.webui.browser import JOB_MILLISECONDS, WebUIPage, open_page
from tests.webui.panel import JOB, Panel
from tests.webui.server import WebUI

AT_ONCE, SLOWLY = (pytest.param(latency, marks=needs_time) for latency in (0, 1500))
at_any_pace = pytest.mark.parametrize("latency", [AT_ONCE, 300, SLOWLY])
PATIENCE = 20_000
"""Milliseconds for several answers of a slow server."""
WORDS = "a cat and a dog in the grass"
BOTH = f"{WORDS} <lora:tuxcat:1> <lora:browndog:1>"
CATS = "a cat, a cat and a dog in the grass <lora:tuxcat:1> <lora:browndog:1>"
SLOW = """() => {
    const {fetch} = window;
    window.latency = 0;
    window.fetch = async (...asked) => {
        const answer = await fetch(...asked);
        await new Promise((done) => setTimeout(done, window.latency));
        return answer;
    };
}"""
"""Every answer comes later by ``window.latency``."""


class Hand(Panel):
    """The panel of a page that is used for several tests, and the hand on the keyboard."""

    def __init__(self, opened: WebUIPage) -> None:
        super().__init__(opened)
        self.page.evaluate(SLOW)
        expect.set_options(timeout=PATIENCE)
        self.press = self.page.keyboard.press
        self.area = self.page.locator("#txt2img_prompt textarea")
        self.bindings = self.element("bindings").locator("textarea")
        self.line = self.board.locator(".clora-line")

    def begin(self, prompt: str, latency: int = 0, says: str = "tuxcat on “cat”, browndog on “dog”") -> None:
        """A prompt on a page where nothing has been said yet, and the line that it gives."""
        self.page.evaluate("window.latency = 0")
        self.bindings.fill(" ")
        self.bindings.fill("")
        self.area.fill("")
        expect(self.board.locator(".clora-row")).to_have_count(0)
        self.area.fill(prompt)
        expect(self.line).to_contain_text(says)
        self.pause(800)
        self.page.evaluate(f"window.latency = {latency}")

    def pause(self, milliseconds: int) -> None:
        self.page.wait_for_timeout(milliseconds)

    def put_caret(self, start: int, end: int | None = None) -> None:
        """Click into the prompt, and choose some of it."""
        self.area.click()
        self.area.evaluate("(area, at) => area.setSelectionRange(...at)", [start, end or start])

    def entry(self, lora: str, label: str = "Weight") -> Locator:
        return self.row(lora).get_by_label(label, exact=True)

    def has(self, prompt: str, bindings: str = "") -> None:
        """Wait until both fields have these texts."""
        expect(self.area).to_have_value(prompt)
        expect(self.bindings).to_have_value(bindings)

    def click_card(self, lora: str) -> None:
        """As somebody does who wants a LoRA, or no longer."""
        self.page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Lora").click()
        self.page.locator(f"#txt2img_lora_cards .card[data-name={lora}]").click()
        self.page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Generation").click()

    def drawn(self, ask: Callable[[], None]) -> str:
        """The infotext of the picture that comes of asking for one."""
        gallery = self.page.locator("#txt2img_gallery img").first
        before = gallery.get_attribute("src") if gallery.count() else ""
        ask()
        expect(gallery).not_to_have_attribute("src", before or "", timeout=JOB_MILLISECONDS)
        expect(gallery).to_have_attribute("src", re.compile("file="), timeout=JOB_MILLISECONDS)
        expect(self.page.locator("#txt2img_interrupt")).to_be_hidden(timeout=JOB_MILLISECONDS)
        return self.opened.infotext()


@contextmanager
def open_hand(world: WebUI) -> Iterator[Hand]:
    """A page with the panel open, and no errors of ours at its end."""
    with open_page(world) as opened:
        opened.sampling(**JOB)
        hand = Hand(opened)
        hand.switch()
        yield hand
        assert opened.errors_outside_gradio() == []
