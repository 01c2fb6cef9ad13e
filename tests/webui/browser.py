"""Drive WebUI's page with Debian's Chromium through playwright; nothing but the loopback address is ever asked.

```python
with open_page(host) as page:
    page.prompt("a cat")
    image = page.generate()
```
"""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Locator, Page, Route, sync_playwright

from tests.webui.server import WebUI, WebUIError

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
LOOPBACK = "127.0.0.1"
LOAD_MILLISECONDS = 120_000
JOB_MILLISECONDS = 300_000
SETTLE_MILLISECONDS = 1000
"""Gradio hands pasted values on from component to component after its answer has come."""


def find_chromium() -> str | None:
    """Return the browser's path: `CHROMIUM`, else the first of Debian's names on the PATH; None when there is none."""
    named = os.environ.get("CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass(frozen=True, slots=True)
class WebUIPage:
    """WebUI's page, open and ready. `page` is playwright's; `refused` lists hosts that the page asked for in vain.

    `errors` holds the stacks of JavaScript exceptions which nobody caught, in the order they came. Gradio 3.41.2 throws
    some of its own when a slider changes ("reading 'props'"): see `errors_outside_gradio`.
    """

    page: Page
    host: WebUI
    refused: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def reopen(self, address: str = "") -> None:
        """Load the page anew, at an address that follows the host's, and wait until it is wired up."""
        self.page.goto(self.host.url + address, wait_until="domcontentloaded", timeout=LOAD_MILLISECONDS)
        self.element("txt2img_generate").wait_for(timeout=LOAD_MILLISECONDS)
        # WebUI's own scripts wire the page up a while after it is drawn
        self.page.wait_for_function(
            "() => window.opts && Object.keys(window.opts).length > 0", timeout=LOAD_MILLISECONDS
        )

    def errors_outside_gradio(self) -> list[str]:
        """Return the uncaught exceptions that were not thrown in Gradio's own bundle, served under `/assets/`."""
        return [stack for stack in self.errors if f"{self.host.url}/assets/" not in stack]

    def element(self, element_id: str) -> Locator:
        """Return the element of an `elem_id`, `txt2img_generate` say; of two nested ones, the outer."""
        return self.page.locator(f"[id='{element_id}']").first

    def prompt(self, text: str, *, tab: str = "txt2img", negative: bool = False) -> None:
        """Type a prompt, in place of what stands there."""
        self.element(f"{tab}_{'neg_' if negative else ''}prompt").locator("textarea").fill(text)

    def number(self, element_id: str, value: float) -> None:
        """Set a slider's or number field's value, and leave the field as a person does."""
        entry = self.element(element_id).locator("input[type=number]")
        entry.fill(str(value))
        entry.blur()

    def send_to_txt2img(self, image: bytes) -> None:
        """Open a PNG in the tab PNG Info and send it to txt2img, as a person does; wait until the fields are filled."""
        self.page.locator("#tabs > .tab-nav button", has_text="PNG Info").click()
        self.page.locator("#pnginfo_image input[type=file]").set_input_files(
            {"name": "picture.png", "mimeType": "image/png", "buffer": image}
        )
        self.page.locator("#tab_pnginfo").get_by_text("Steps: ").first.wait_for()
        self.page.locator("#tab_pnginfo button", has_text="txt2img").first.click()
        self.element("txt2img_generate").wait_for()
        self.page.wait_for_timeout(SETTLE_MILLISECONDS)

    def choose_script(self, name: str) -> None:
        """Choose from the scripts of txt2img."""
        self.element("script_list").locator("input").click()
        self.element("script_list").locator("ul.options li", has_text=name).click()

    def axis(self, letter: str, kind: str, values: str) -> None:
        """Set one axis of an X/Y/Z plot in txt2img: its type, and its values as text.

        The script answers both choices with the values of before, so its answers are awaited.
        """
        box = self.element(f"script_txt2img_xyz_plot_{letter}_type")
        box.locator("input").fill(kind)
        self._answered(box.locator("ul.options li", has_text=kind).first.click)
        as_text = self.element("script_txt2img_xyz_plot_csv_mode").locator("input")
        if not as_text.is_checked():
            self._answered(as_text.click)
        self.element(f"script_txt2img_xyz_plot_{letter}_values").locator("textarea").fill(values)

    def _answered(self, ask: Callable[[], None]) -> None:
        with self.page.expect_websocket() as asked:
            ask()
        if not asked.value.is_closed():
            asked.value.wait_for_event("close")

    def shown_file(self, *, tab: str = "txt2img") -> bytes:
        """Return the file behind the gallery's first picture, infotext and all."""
        source = self.element(f"{tab}_gallery").locator("img").first.get_attribute("src") or ""
        answer = self.host.get(source.removeprefix(self.host.url))
        answer.raise_for_status()
        return answer.content

    def sampling(self, *, steps: int, width: int, height: int, seed: int, tab: str = "txt2img") -> None:
        """Set the main fields of a job: number of steps, size in pixels, seed."""
        for name, value in {"steps": steps, "width": width, "height": height, "seed": seed}.items():
            self.number(f"{tab}_{name}", value)

    def generate(self, *, tab: str = "txt2img", button: str = "generate") -> Image.Image:
        """Click Generate or another button, wait until its job ends, and return the picture that the gallery shows."""
        shown = self.element(f"{tab}_gallery").locator("img").first
        before = shown.get_attribute("src") if shown.count() else None
        self.element(f"{tab}_{button}").click()
        self.page.wait_for_function(
            """([tab, before]) => {
                const image = document.querySelector(`[id='${tab}_gallery'] img`);
                const busy = document.querySelector(`[id='${tab}_interrupt']`).style.display === 'block';
                return !busy && image && image.src.includes('/file=') && image.getAttribute('src') !== before;
            }""",
            arg=[tab, before],
            timeout=JOB_MILLISECONDS,
        )
        return Image.open(io.BytesIO(self.shown_file(tab=tab))).convert("RGB")

    def infotext(self, *, tab: str = "txt2img") -> str:
        """Return the text under the gallery, which describes the picture chosen there."""
        return self.element(f"html_info_{tab}").inner_text()


@contextmanager
def open_page(host: WebUI) -> Iterator[WebUIPage]:
    """Open a WebUI's page in a headless browser, closed on leaving. Raise WebUIError without browser."""
    chromium = find_chromium()
    if chromium is None:
        message = "No browser: install Debian's package chromium, or set CHROMIUM to a Chromium executable."
        raise WebUIError(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            page = browser.new_page(viewport={"width": 1400, "height": 1200})
            opened = WebUIPage(page=page, host=host)
            page.route("**/*", lambda route: _only_loopback(route, opened.refused))
            page.on("pageerror", lambda error: opened.errors.append(error.stack or str(error)))
            opened.reopen()
            yield opened
        finally:
            browser.close()


def _only_loopback(route: Route, refused: list[str]) -> None:
    address = urlsplit(route.request.url)
    if address.scheme in {"data", "blob"} or address.hostname == LOOPBACK:
        route.continue_()
        return
    refused.append(address.hostname or address.scheme)
    route.abort()
