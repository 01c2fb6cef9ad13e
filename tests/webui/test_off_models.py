"""Off, every kind of model draws byte by byte what a WebUI without the extension draws, in every pass."""

import pytest
from PIL import Image, ImageDraw

from tests.webui.exact import LORAS, SMALL
from tests.webui.jobs import PROMPT, draw, with_model
from tests.webui.server import WebUI


def digests(host: WebUI, model: str) -> list[str]:
    """A picture, a second pass, an image to image, and an inpainting, with a LoRA by WebUI.

    The host samples its autoencoder by torch's own random numbers, so a job comes after one that drew as many.
    """
    job = {**SMALL, **with_model(model), "prompt": f"{PROMPT} <lora:{LORAS[model][0]}:1>", "sampler_name": "Euler"}
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rectangle((8, 8, 39, 55), fill=255)
    first = draw(host, **job)
    image = first.images[0]
    hires = draw(host, **job, enable_hr=True, hr_scale=1.5, hr_upscaler="Lanczos", denoising_strength=0.6)
    draw(host, **job)
    again = host.img2img(image, **job, denoising_strength=0.6)
    draw(host, **job)
    inpainted = host.img2img(image, mask, **{**job, "sampler_name": "DDIM"})
    return [result.sha1 for result in (first, hires, again, inpainted)]


@pytest.mark.parametrize("model", LORAS)
def test_off_is_a_webui_without_the_extension(webui_models: WebUI, webui_models_plain: WebUI, model: str):
    assert digests(webui_models, model) == digests(webui_models_plain, model)
