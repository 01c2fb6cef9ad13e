"""The tab *Merge LoRAs*, and the hand in it."""

from playwright.sync_api import Locator

from tests.webui.browser import WebUIPage

SECONDS = 300
"""How long a small merge may take on a busy machine."""


class MergeTab:
    """The open tab."""

    def __init__(self, opened: WebUIPage) -> None:
        self.opened = opened
        self.line = self.field("line")
        opened.page.locator("#tabs > .tab-nav button", has_text="Merge LoRAs").click()

    def element(self, name: str) -> Locator:
        return self.opened.element(f"clora_merge_{name}")

    def field(self, name: str) -> Locator:
        return self.element(name).locator("textarea, input").first

    def cells(self) -> list[str]:
        """The texts of the table."""
        return [text.strip() for text in self.element("rows").locator("tbody td").all_inner_texts()]

    def says(self, words: str) -> None:
        """Wait until the line has these words."""
        self.opened.page.wait_for_function(
            "([id, words]) => document.querySelector(`#${id} textarea`).value.includes(words)",
            arg=["clora_merge_line", words], timeout=SECONDS * 1000,
        )  # fmt: skip

    def choose(self, name: str, option: str) -> None:
        self.field(name).fill(option)
        self.element(name).locator("ul.options li", has_text=option).first.click()
