"""The panel in other languages: WebUI's localization reaches its components and what the script draws."""

import json
from pathlib import Path

import pytest

from clora_ext.settings.knobs import KNOBS
from clora_ext.settings.profiles import METHODS, PROFILES
from tests.webui.browser import find_chromium, open_page
from tests.webui.conftest import CHECKOUT
from tests.webui.panel import PROMPT, Panel
from tests.webui.server import Setup, WebUI
from tests.webui.world import tiny_world

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")

WORDS = {
    "Profile": "Profil",
    "Advanced": "Erweitert",
    "Presets": "Vorlagen",
    "Load": "Laden",
    "Weight": "Gewicht",
    "Where masks overlap": "Wo Masken sich überdecken",
    "soft": "weich",
    "LoRA: word, one on each line. Empty: read from the prompt.": "Ein LoRA je Zeile.",
    "Choose a LoRA, then click the word that it draws. A click on its own word keeps it, another takes it back. "
    "Shift and a click take in all words up to there.": "Wähle erst ein LoRA, dann sein Wort.",
}
"""Labels, help, a button and a choice; some are components, some are drawn by the script."""


def test_labels_are_translated_and_values_are_not(webui: WebUI, tmp_path: Path):
    (tmp_path / "words.json").write_text(json.dumps(WORDS), encoding="utf-8")
    setup = Setup(
        webui.setup.webui, webui.setup.model, (CHECKOUT,), flags=("--localizations-dir", str(tmp_path)),
        settings={"localization": "words"},
    )  # fmt: skip
    with WebUI(setup) as host, open_page(host) as page:
        page.prompt("a cat <lora:tinyA:1:bind=cat> and a dog <lora:tinyB:1:bind=dog>")
        page.element("clora_txt2img_enabled").locator(".label-wrap").first.click()
        page.page.locator(".clora-row").first.wait_for()
        Panel(page).open("advanced_box")
        Panel(page).open("presets")
        panel = page.element("clora_txt2img_enabled")
        for word in WORDS.values():
            if word != "weich":
                panel.get_by_text(word, exact=True).first.wait_for()
        panel.get_by_label("Wo Masken sich überdecken", exact=True).select_option(label="weich")
        assert panel.locator("#clora_txt2img_advanced textarea").input_value() == "overlap = soft"
        page.page.locator(".clora-line", has_text="tinyA on “cat”, tinyB on “dog”").wait_for()
        assert page.errors_outside_gradio() == []


SHOWN = """panel => {
    const shown = [...panel.querySelectorAll('[aria-label], [title]')]
        .flatMap((each) => [each.getAttribute('aria-label'), each.title]);
    const texts = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const {parentElement, textContent} = texts.currentNode;
        if (parentElement.matches('option') || parentElement.checkVisibility()) shown.push(textContent);
    }
    return shown.filter(Boolean).map((text) => text.trim());
}"""
"""All texts, names for screen readers and tooltips inside."""
KEPT = {
    "CLoRA", *PROFILES, *METHODS, *(knob.term for knob in KNOBS),
    *(option for knob in KNOBS for option in knob.kind.options),
    *("tuxcat", "browndog", "lineart", "vako", "pleko", "cat", "dog", "and", "the", "grass"),
    *("cat 1", "cat 2", "pleko dog", "frizu style"),
}  # fmt: skip
"""What is the same in every language: values, the field's terms, names and words of the prompt."""


def test_the_whole_panel_is_japanese(webui_dir: Path):
    """With the file that the extension brings along; everything is opened."""
    setup = Setup(webui_dir, tiny_world(), (CHECKOUT,), settings={"localization": "ja_JP"})
    with WebUI(setup) as host, open_page(host) as page:
        panel = Panel(page)
        panel.switch()
        page.prompt(f"{PROMPT} <lora:lineart:0.5>")
        panel.says("tuxcat → 「cat」, browndog → 「dog」, lineart → 全体 (起動テキストによる)")
        panel.open("advanced_box")
        panel.open("presets")
        page.page.locator("#clora_txt2img_preset_name").wait_for()
        panel.row("tuxcat").get_by_role("button", name="自作マスク").click()
        page.page.wait_for_timeout(500)
        shown = set(panel.element("enabled").evaluate(SHOWN))
        panel.screenshot("first-4-japanese", whole=False)
        page.prompt("a cat, a cat and a dog <lora:tuxcat:1> <lora:browndog:1>")
        panel.says("「tuxcat」が描く「cat」: 2 か所にあります。")
        panel.row("browndog").get_by_role("button", name="pleko を加える").wait_for()
        shown.update(panel.element("enabled").evaluate(SHOWN))
        assert page.errors_outside_gradio() == []
    foreign = {text for text in shown if text.isascii() and sum(sign.isalpha() for sign in text) > 2}
    assert foreign - KEPT == set()
