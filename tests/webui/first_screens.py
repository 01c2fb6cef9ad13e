"""The panel's first screen as it looks in every state that a new user meets, on one sheet to look at."""

import io
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont

from tests.webui.browser import WebUIPage, open_page
from tests.webui.panel import PROMPT, UNBOUND
from tests.webui.server import WebUI

COLUMN, GAP, CAPTION = 700, 24, 22
"""Pixels: of a screenshot's room, between two of them, and of the words above each."""

NARROW = 420
UNKNOWN = "a cat and a dog <lora:tuxcat:1> <lora:nobody:1>"
FINE = "tuxcat on “cat”, browndog on “dog”"


def first_screens(host: WebUI) -> Iterator[tuple[str, Image.Image]]:
    """Each state's name and its panel, of one page after the other."""
    with open_page(host) as opened:
        yield "empty", _panel(opened, "", "No LoRA yet")
        yield "two LoRAs", _panel(opened, PROMPT, FINE)
        yield "a question", _panel(opened, UNBOUND, "stands in 2 places")
        yield "an error", _panel(opened, UNKNOWN, "There is no LoRA “nobody”")
        opened.page.locator("#tabs > .tab-nav button").get_by_text("img2img", exact=True).click()
        yield "img2img", _panel(opened, PROMPT, FINE, tab="img2img")
    with open_page(host) as opened:
        opened.reopen("/?__theme=dark")
        yield "dark", _panel(opened, PROMPT, FINE)
    with open_page(host) as opened:
        opened.page.set_viewport_size({"width": NARROW, "height": 1000})
        yield f"{NARROW} pixels wide", _panel(opened, PROMPT, FINE)


def _panel(opened: WebUIPage, prompt: str, says: str, *, tab: str = "txt2img") -> Image.Image:
    """The panel of ``tab``, switched on, with ``prompt``, once its line has these words."""
    box = opened.element(f"clora_{tab}_enabled")
    if not opened.element(f"clora_{tab}_enabled-checkbox").locator("input").is_checked():
        box.locator(".label-wrap").first.click()
    opened.prompt(prompt, tab=tab)
    opened.element(f"clora_{tab}_board").locator(".clora-line", has_text=says).wait_for()
    return Image.open(io.BytesIO(box.screenshot())).convert("RGB")


def on_one_sheet(screens: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """All of them below each other in two columns, each with its name above; the next goes where there is more room."""
    placed: list[tuple[int, int, str, Image.Image]] = []
    ends = [GAP, GAP]
    for name, screen in screens:
        column = ends.index(min(ends))
        placed.append((GAP + column * (COLUMN + GAP), ends[column], name, screen))
        ends[column] += CAPTION + screen.height + GAP
    paper = Image.new("RGB", (2 * COLUMN + 3 * GAP, max(ends)), "#d0d0d0")
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(16)
    for left, top, name, screen in placed:
        pen.text((left, top), name, fill="black", font=font)
        paper.paste(screen, (left, top + CAPTION))
    return paper
