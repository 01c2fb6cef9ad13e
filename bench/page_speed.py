"""`python -m bench.page_speed`: what the extension costs while it is off, beside the same WebUI without it.

Two real WebUIs run at once; pages are loaded and plain pictures drawn in turn, so that whatever else the machine does
slows both alike. Bars: at most 100 ms more to load, at most 150 ms from a key to a panel that follows it at 300 words;
medians of 20. A plain picture, two LoRAs merged, has no bar: it should take what it takes without us.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.webui.browser import FLAGS, find_chromium, open_page
from tests.webui.server import Setup, WebUI, find_python, find_webui
from tests.webui.world import tiny_world

CHECKOUT = Path(__file__).resolve().parents[1]
LOAD_MILLISECONDS = 100.0
TYPING_MILLISECONDS = 150.0
PROMPT = "a cat <lora:tuxcat:1:bind=cat> and a dog <lora:browndog:1:bind=dog>, " + ", ".join(
    f"word{number} thing" for number in range(147)
)
MERGED = "a cat and a dog <lora:tuxcat:0.6> <lora:browndog:0.6>"
LETTERS = "abcdefghijklmnopqrstuvwxyz"

TYPE = """async (letters) => {
    const area = document.querySelector('#txt2img_prompt textarea');
    const {show} = window.clora;
    const times = [];
    for (const letter of letters) {
        await new Promise((done) => {
            const began = performance.now();
            window.clora.show = (tab, answer) => {
                show(tab, answer);
                if (JSON.parse(answer).prompt !== area.value) return;
                times.push(performance.now() - began);
                done();
            };
            area.value += letter;
            updateInput(area);
        });
        await new Promise((done) => setTimeout(done, 200));
    }
    window.clora.show = show;
    return times;
}"""


def load(browser: Browser, host: WebUI) -> float:
    """Milliseconds until WebUI's own scripts have wired a fresh page up."""
    page = browser.new_page()
    page.route("**/*", lambda route: route.continue_() if "127.0.0.1" in route.request.url else route.abort())
    began = time.perf_counter()
    page.goto(host.url, wait_until="domcontentloaded")
    page.wait_for_function("() => window.opts && Object.keys(window.opts).length > 0", polling=10)
    took = 1000.0 * (time.perf_counter() - began)
    page.close()
    return took


def loads(ours: WebUI, theirs: WebUI, times: int) -> dict[str, float]:
    """Medians of page loads in turn: `with_us` and `without_us`, and the median `added` of the pairs, in ms."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        for host in (ours, theirs):
            load(browser, host)
        pairs = [(load(browser, ours), load(browser, theirs)) for _ in range(times)]
        browser.close()
    return compared(pairs)


def plain_pictures(ours: WebUI, theirs: WebUI, times: int) -> dict[str, float]:
    """Median milliseconds of a picture with two merged LoRAs, ours installed and off: as in ``loads``, in turn."""

    def draw(host: WebUI) -> float:
        began = time.perf_counter()
        host.txt2img(prompt=MERGED, steps=20, width=128, height=128, seed=1, sampler_name="DDIM")
        return 1000.0 * (time.perf_counter() - began)

    for host in (ours, theirs):
        draw(host)
    return compared([(draw(ours), draw(theirs)) for _ in range(times)])


def compared(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Medians of pairs (with us, without us) and of their differences."""
    return {
        "with_us": statistics.median(a for a, _ in pairs),
        "without_us": statistics.median(b for _, b in pairs),
        "added": statistics.median(a - b for a, b in pairs),
    }


def typing(host: WebUI, times: int) -> float:
    """Median milliseconds from a key to the panel that shows the prompt with it, at 300 words."""
    with open_page(host) as page:
        page.element("clora_txt2img_enabled").locator(".label-wrap").first.click()
        page.prompt(PROMPT)
        page.page.locator("#clora_txt2img_board button.clora-chip").first.wait_for()
        return statistics.median(page.page.evaluate(TYPE, [LETTERS[i % len(LETTERS)] for i in range(times)]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of `make bench-page`; returns 0 if both bars hold, 1 if not, 2 where a part is missing."""
    parser = argparse.ArgumentParser(description="Measure what the panel costs the page.")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("out/bench/page.json"))
    options = parser.parse_args(arguments)
    folder = find_webui()
    if folder is None or find_python(folder) is None or find_chromium() is None:
        print("A WebUI with its Python (WEBUI_DIR) and Debian's package chromium are needed.")
        return 2
    model = tiny_world()
    with ExitStack() as stack:
        ours = stack.enter_context(WebUI(Setup(webui=folder, model=model, extensions=(CHECKOUT,))))
        theirs = stack.enter_context(WebUI(Setup(webui=folder, model=model)))
        report = {
            "load": loads(ours, theirs, options.times),
            "typing": typing(ours, options.times),
            "plain_picture": plain_pictures(ours, theirs, options.times),
            "times": options.times,
            "machine_load": os.getloadavg()[0],
        }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    added, alone, typed = report["load"]["added"], report["load"]["without_us"], report["typing"]
    print(f"page load: {added:+.0f} ms against {alone:.0f} without us (bar {LOAD_MILLISECONDS:g})")
    picture = report["plain_picture"]
    print(f"plain picture: {picture['added']:+.0f} ms against {picture['without_us']:.0f} without us")
    print(f"typing at 300 words: {typed:.0f} ms (bar {TYPING_MILLISECONDS:g})")
    return 0 if added < LOAD_MILLISECONDS and typed < TYPING_MILLISECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
