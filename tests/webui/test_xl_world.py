"""The world of SDXL's topology in the plain WebUI, without the extension: it draws what a prompt says."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from tests.webui.server import Setup, WebUI, find_webui
from tests.webui.world import xl_world
from tiny_world.judge import verdict
from tiny_world.samples import sample
from tiny_world.worlds import XL

JOB = {"sampler_name": "DDIM", "scheduler": "Automatic", "steps": 20, "cfg_scale": 4.0, "width": 192, "height": 192}
PLAIN = "masterpiece, best quality, a cat next to a ball in the grass"
SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def host() -> Iterator[WebUI]:
    with WebUI(Setup(webui=find_webui(), model=xl_world(), ui=False)) as started:
        yield started


def drawn(host: WebUI, prompt: str, seed: int) -> Image.Image:
    return host.txt2img(prompt=prompt, seed=seed, **JOB).images[0].convert("RGB")


def test_the_base_draws_what_a_prompt_with_noise_says(host: WebUI):
    judge = XL.judge(XL.weights)
    found = [Counter(thing.kind for thing in judge.find(drawn(host, PLAIN, seed))) for seed in SEEDS]
    assert sum(kinds == {"cat": 1, "ball": 1} for kinds in found) >= 3, found


@pytest.mark.parametrize(("name", "phrase"), [("tuxcat", "vako cat"), ("cometball", "snorta ball")])
def test_a_lora_draws_its_concept(host: WebUI, name: str, phrase: str):
    judge = XL.judge(XL.weights)
    prompt = f"a {phrase} in the snow <lora:{name}-xl:1>"
    right = [verdict(judge.find(drawn(host, prompt, seed)), [name]).right for seed in SEEDS]
    assert sum(right) >= 3, right


def test_a_style_changes_the_picture(host: WebUI):
    judge = XL.judge(XL.weights)
    prompt = "a cat and a ball on the beach, frizu style"
    assert judge.style(drawn(host, prompt, 1)) is None
    assert judge.style(drawn(host, f"{prompt} <lora:lineart-xl:1>", 1)) == "lineart"


def test_the_encoders_and_the_unet_are_the_trainers_own(host: WebUI):
    """The picture that the trainer's code draws from WebUI's noise: samplers differ by a step's offset, little more."""
    theirs = np.asarray(drawn(host, PLAIN, 1), dtype=float)
    ours = sample(XL.load(XL.weights), [PLAIN], [1], size=192)[0].astype(float)
    other = sample(XL.load(XL.weights), [PLAIN], [2], size=192)[0].astype(float)
    assert np.abs(theirs - ours).mean() < 0.3 * np.abs(theirs - other).mean()
