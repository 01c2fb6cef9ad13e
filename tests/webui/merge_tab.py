"""The tab *Merge LoRAs*, and the hand in it."""

from playwright.sync_api import Locator

from tests.webui.browser import WebUIPage

SECONDS = 300
"""How long a small merge may take on a busy machine."""


class MergeTab:
    """The open tab."""

    def __init__(self, opened: WebUIPage) -> None:
        self.opened = opened
        opened.page.locator("#tabs > .tab-nav button", has_text="Merge LoRAs").click()
        self.line = self.element("line")
        self.line.wait_for(state="attached")

    def element(self, name: str) -> Locator:
        return self.opened.element(f"clora_merge_{name}")

    def field(self, name: str) -> Locator:
        return self.element(name).locator("textarea, input").first

    def cells(self) -> list[str]:
        """The names, ratios and triggers of the table."""
        found = "bodies => [...bodies[0].querySelectorAll('bdi, input')].map((each) => each.value ?? each.textContent)"
        return self.element("rows").locator("tbody").evaluate_all(found)

    def says(self, words: str) -> None:
        """Wait until the line has these words."""
        self.opened.page.wait_for_function(
            "([id, words]) => document.getElementById(id).textContent.includes(words)",
            arg=["clora_merge_line", words], timeout=SECONDS * 1000,
        )  # fmt: skip

    def unfold(self, name: str) -> None:
        self.element(name).locator("summary").click()

    def choose(self, name: str, option: str) -> None:
        """Choose from a list of LoRAs, as by typing its name."""
        self.field(name).fill(option)
        self.field(name).press("Enter")
