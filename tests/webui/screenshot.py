"""`python -m tests.webui.screenshot PAGE PLOT FIRST MERGE`: the pictures of README and docs, from the real WebUI."""

import io
import sys
from pathlib import Path

from PIL import Image

from tests.webui.browser import WebUIPage, open_page
from tests.webui.first_screens import first_screens, on_one_sheet
from tests.webui.merge_tab import MergeTab
from tests.webui.panel import PROMPT
from tests.webui.server import Setup, WebUI, find_python, find_webui
from tests.webui.world import tiny_world

CHECKOUT = Path(__file__).resolve().parents[2]


def main(file: Path, plot: Path, first: Path, merge: Path) -> int:
    """Keep a picture of the page with two subjects and their masks, a plot of methods against seeds, the panel's first
    screen in all its states, and the tab that merges.

    Gives the exit status: 2 without a WebUI.
    """
    folder = find_webui()
    if folder is None or find_python(folder) is None:
        print("A WebUI with its Python is needed: set WEBUI_DIR.", file=sys.stderr)
        return 2
    with WebUI(Setup(webui=folder, model=tiny_world(), extensions=(CHECKOUT,))) as host:
        _few_colours(on_one_sheet(list(first_screens(host))), first)
        with open_page(host) as opened:
            _keep_page_and_plot(opened, file, plot)
            _keep_merge(opened, merge)
    print(f"look at {file}, {plot}, {first} and {merge}")
    return 0


def _keep_page_and_plot(opened: WebUIPage, file: Path, plot: Path) -> None:
    opened.prompt(PROMPT)
    opened.sampling(steps=20, width=128, height=128, seed=2)
    opened.number("txt2img_cfg_scale", 4)
    opened.element("clora_txt2img_enabled").locator(".label-wrap").first.click()
    opened.element("clora_txt2img_board").locator(".clora-line").first.wait_for()
    opened.element("clora_txt2img_show_masks").locator("input").first.check()
    opened.generate()
    opened.element("clora_txt2img_finished").get_by_role("button").first.wait_for()
    _few_colours(Image.open(io.BytesIO(opened.page.screenshot(full_page=True))).convert("RGB"), file)
    opened.choose_script("X/Y/Z plot")
    opened.axis("x", "[CLoRA] Method", "clora, masks, merge")
    opened.axis("y", "Seed", "1-4")
    _few_colours(opened.generate(), plot)


def _keep_merge(opened: WebUIPage, file: Path) -> None:
    """The tab after a look."""
    opened.prompt(PROMPT.replace("browndog:1", "browndog:0.8"))
    tab = MergeTab(opened)
    tab.element("take").click()
    tab.says("Taken from the prompt")
    tab.field("name").fill("two")
    tab.element("look").click()
    tab.says("2 LoRAs can be merged")
    _few_colours(Image.open(io.BytesIO(opened.element("tab_clora_merge").screenshot())).convert("RGB"), file)


def _few_colours(picture: Image.Image, file: Path) -> None:
    """Small enough for a repository."""
    picture.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:5])))
