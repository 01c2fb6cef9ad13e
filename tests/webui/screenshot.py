"""`python -m tests.webui.screenshot PAGE PLOT`: the README's pictures, from the real WebUI with the tiny world."""

import sys
from pathlib import Path

from PIL import Image

from tests.webui.browser import open_page
from tests.webui.server import Setup, WebUI, find_python, find_webui
from tests.webui.world import tiny_world

CHECKOUT = Path(__file__).resolve().parents[2]
PROMPT = "a vako cat <lora:tuxcat:1> and a pleko dog <lora:browndog:1> in the grass"


def main(file: Path, plot: Path) -> int:
    """Keep a picture of the page with two subjects and their masks, and a plot of methods against seeds.

    Gives the exit status: 2 without a WebUI.
    """
    folder = find_webui()
    if folder is None or find_python(folder) is None:
        print("A WebUI with its Python is needed: set WEBUI_DIR.", file=sys.stderr)
        return 2
    with WebUI(Setup(webui=folder, model=tiny_world(), extensions=(CHECKOUT,))) as host, open_page(host) as opened:
        opened.prompt(PROMPT)
        opened.sampling(steps=20, width=128, height=128, seed=2)
        opened.number("txt2img_cfg_scale", 4)
        opened.element("clora_txt2img_enabled").locator(".label-wrap").first.click()
        opened.element("clora_txt2img_board").locator(".clora-line").first.wait_for()
        opened.element("clora_txt2img_show_masks").locator("input").first.check()
        opened.generate()
        opened.page.screenshot(path=file, full_page=True)
        opened.choose_script("X/Y/Z plot")
        opened.axis("x", "[CLoRA] Method", "clora, masks, merge")
        opened.axis("y", "Seed", "1-4")
        grid = opened.generate()
        grid.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(plot, optimize=True)
    print(f"look at {file} and {plot}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
