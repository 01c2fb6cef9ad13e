"""The tiny checkpoints of `tests.models` in the real WebUI, without the extension: other tests rest on these."""

import pytest

from tests.webui.jobs import PROMPT, SMALL, draw, with_model
from tests.webui.server import Result, WebUI

LORAS = {
    "tiny-sdxl": ("xlA", "xlB"),
    "tiny-sdxl-v": ("xlA", "xlB"),
    "tiny-sdxl-inpainting": ("xlA", "xlB"),
    "tiny-sd2": ("v2A", "v2B"),
    "tiny-sd2-v": ("v2A", "v2B"),
    "tiny-sd1-inpainting": ("tinyA", "tinyB"),
}
"""Two LoRAs for every kind of model."""

UNMATCHED, MISSHAPEN = "didn't match keys", "The size of tensor"
"""WebUI's words in its log at level DEBUG for keys of a LoRA that fit no layer, and for a layer of another size."""


def picture(host: WebUI, model: str, *loras: str) -> Result:
    """A small picture by a model, with LoRAs at full weight."""
    tags = [f"<lora:{lora}:1>" for lora in loras]
    return draw(host, prompt=" ".join([PROMPT, *tags]), **SMALL, **with_model(model))


def test_every_kind_is_tried(webui_models_plain: WebUI):
    assert {model.name for model in webui_models_plain.setup.more} == set(LORAS)


@pytest.mark.parametrize("model", LORAS)
def test_model_draws_the_same_twice(webui_models_plain: WebUI, model: str):
    first = picture(webui_models_plain, model)
    assert first.info["sd_model_name"] == model
    assert len(first.images[0].getcolors(maxcolors=64 * 64)) > 1000, "the picture is (nearly) of one colour: NaNs?"
    assert picture(webui_models_plain, model).sha1 == first.sha1
    assert "Failed to create model" not in webui_models_plain.log(), "WebUI tried a download"


@pytest.mark.parametrize("model", LORAS)
def test_every_layer_of_its_loras_is_found(webui_models_plain: WebUI, model: str):
    mark = webui_models_plain.log_mark()
    without = picture(webui_models_plain, model)
    drawn = {picture(webui_models_plain, model, lora).sha1 for lora in LORAS[model]}
    assert len(drawn | {without.sha1}) == 3
    log = webui_models_plain.log(mark)
    assert UNMATCHED not in log and MISSHAPEN not in log


def test_a_lora_of_another_kind_is_told_in_the_log(webui_models_plain: WebUI):
    mark = webui_models_plain.log_mark()
    picture(webui_models_plain, "tiny-sdxl", "v2A")
    log = webui_models_plain.log(mark)
    assert UNMATCHED in log and MISSHAPEN in log


@pytest.mark.parametrize("model", ["tiny-sdxl", "tiny-sd2"])
def test_the_same_weights_as_v_prediction_draw_something_else(webui_models_plain: WebUI, model: str):
    assert picture(webui_models_plain, model).sha1 != picture(webui_models_plain, f"{model}-v").sha1


def test_sd1_inpainting_without_effect_draws_what_sd1_draws(webui_models_plain: WebUI):
    for loras in ((), ("tinyA",)):
        twins = [picture(webui_models_plain, name, *loras).sha1 for name in ("tiny-sd1", "tiny-sd1-inpainting")]
        assert twins[0] == twins[1]


def test_sdxl_inpainting_is_shown_the_masked_picture(webui_models_plain: WebUI):
    drawn = {picture(webui_models_plain, name).sha1 for name in ("tiny-sdxl", "tiny-sdxl-inpainting")}
    assert len(drawn) == 2
