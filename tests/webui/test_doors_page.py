"""On the page no name becomes HTML, and a report of a failed job is one click away."""

import pytest

from tests.webui.browser import find_chromium, open_page
from tests.webui.panel import JOB, PROMPT, Panel
from tests.webui.server import WebUI

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")
IMAGE = "<img src=x onerror='document.title=1'"
"""A tag in a prompt ends at the first >, so none stands here; a browser shows the image all the same."""


def test_names_and_words_are_text_in_presets_infotext_and_errors(world: WebUI):
    with open_page(world) as page:
        panel, title = Panel(page), page.page.title()
        panel.switch()
        assert world.put("/clora/v1/presets/%3Cimg src=x onerror=document.title=1%3E", {}).status_code == 200
        panel.open("presets")
        page.page.locator("#clora_txt2img_preset_names option").wait_for(state="attached")
        page.sampling(**JOB)
        page.prompt(f"{PROMPT} {IMAGE}")
        page.generate()
        assert IMAGE in page.infotext()
        for place in ("#html_info_txt2img", "#html_log_txt2img", "#clora_txt2img_enabled"):
            assert page.page.locator(f"{place} img:is([onerror], [src='x'])").count() == 0
        assert page.page.title() == title
        assert page.errors_outside_gradio() == []
    assert world.delete("/clora/v1/presets/%3Cimg src=x onerror=document.title=1%3E").status_code == 200


def test_one_click_writes_the_report_and_a_box_adds_what_is_private(world: WebUI):
    with open_page(world) as page:
        panel = Panel(page)
        page.sampling(**JOB)
        panel.switch()
        page.prompt(PROMPT)
        page.generate()
        text = page.page.locator("#clora_txt2img_report_text")
        panel.unfold()
        assert not text.is_visible()
        page.page.locator("#clora_txt2img_report").click()
        text.wait_for(state="visible")
        told = text.input_value()
        assert "Composed: yes" in told
        assert "vako" not in told
        page.page.locator("#clora_txt2img_report_private").check()
        page.page.locator("#clora_txt2img_report").click()
        page.page.wait_for_function("document.querySelector('#clora_txt2img_report_text').value.includes('vako')")
        assert page.errors_outside_gradio() == []
