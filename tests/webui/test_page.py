"""The page in a real browser: it opens, a click makes the picture that the API makes, nothing outside is asked."""

import pytest

from tests.webui.browser import find_chromium, open_page
from tests.webui.server import WebUI, pixel_sha1

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")


def test_click_makes_the_picture_of_the_api(webui: WebUI):
    job = {"steps": 4, "width": 64, "height": 64, "seed": 1}
    with open_page(webui) as page:
        page.prompt("a cat and a dog")
        page.sampling(**job)
        image = page.generate()
        text = page.infotext()
        errors, refused = page.errors_outside_gradio(), set(page.refused)
    assert image.size == (64, 64)
    assert "Seed: 1," in text
    expected = webui.txt2img(prompt="a cat and a dog", **job, sampler_name="DPM++ 2M")
    assert pixel_sha1(image) == expected.sha1
    assert errors == []
    assert len(refused) <= 1, f"Gradio asks one host for one script, this page asked {sorted(refused)}"
