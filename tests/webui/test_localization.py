"""The panel in another language: WebUI's localization reaches its components and what the script draws."""

import json
from pathlib import Path

import pytest

from tests.webui.browser import find_chromium, open_page
from tests.webui.conftest import CHECKOUT
from tests.webui.panel import Panel
from tests.webui.server import Setup, WebUI

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
    "Choose a LoRA, then click the word that it draws; again to take it back. "
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
