"""Exact checks on every kind of model, and with every sampler; `bench.compatibility` has all combinations."""

import pytest

from tests.webui.exact import LORAS, asking, require_exact
from tests.webui.server import WebUI

SAMPLERS = (
    "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "LMS",
    "Heun", "DPM2", "DPM2 a", "DPM fast", "Restart", "DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM",
)  # fmt: skip
"""All of WebUI's but Euler, with which every model is tried, and DPM adaptive, which makes 200 calls for a picture."""


@pytest.mark.parametrize("model", LORAS)
def test_every_kind_of_model(webui_models: WebUI, model: str):
    require_exact(asking(webui_models, model, sampler_name="Euler"), model)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler(webui_models: WebUI, sampler: str):
    require_exact(asking(webui_models, "tiny-sdxl", sampler_name=sampler, steps=4), "tiny-sdxl")
