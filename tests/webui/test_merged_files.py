"""Merged files in a WebUI without this extension: the built-in loader reads them whole, and draws as with all tags."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clora_ext.merge.baselines import BaselineNumbers, merged_layers
from clora_ext.merge.inputs import Ingredient, read_ingredients
from clora_ext.merge.metadata import merged_metadata
from clora_ext.merge.output import OutputForm, write_merged, written_layer
from clora_ext.merge.recipe import Part, Recipe
from tests.webui.exact import LORAS, SMALL, largest
from tests.webui.jobs import PROMPT, draw, with_model
from tests.webui.server import Result, WebUI

FORMS = {"low": OutputForm(dtype="fp32", energy=1.0), "whole": OutputForm("full", dtype="fp32")}
RATIOS = (1.0, 0.5)


@contextmanager
def _merged(host: WebUI, model: str, kind: str) -> Iterator[str]:
    """The name of a file that the two LoRAs for a model were merged into."""
    folder, name = host.data_dir / "models" / "Lora", f"six-{kind}"
    wanted = [
        Ingredient(folder / f"{lora}.safetensors", ratio) for lora, ratio in zip(LORAS[model], RATIOS, strict=True)
    ]
    loras = read_ingredients(wanted, "SDXL" if "sdxl" in model else "Stable Diffusion 1.x")
    deltas = merged_layers("concat", loras, BaselineNumbers())
    layers = {layer: written_layer(delta, FORMS[kind]) for layer, delta in deltas}
    recipe = Recipe("concat", tuple(Part(lora.name) for lora in loras))
    path = folder / f"{name}.safetensors"
    write_merged(path, layers, merged_metadata(name, loras, layers, recipe))
    host.post("/sdapi/v1/refresh-loras").raise_for_status()
    try:
        yield name
    finally:
        path.unlink()
        path.with_suffix(".json").unlink()
        host.post("/sdapi/v1/refresh-loras").raise_for_status()


def _draw(host: WebUI, model: str, *tags: tuple[str, float]) -> Result:
    text = " ".join(f"<lora:{name}:{strength:g}>" for name, strength in tags)
    return draw(host, **{**SMALL, **with_model(model), "prompt": f"{PROMPT} {text}", "sampler_name": "Euler"})


@pytest.mark.parametrize(("model", "kind"), [("tiny-sd1", "low"), ("tiny-sd1", "whole"), ("tiny-sdxl", "low")])
def test_a_sum_in_one_file_draws_as_its_tags_do(webui_models_plain: WebUI, model: str, kind: str):
    plain = _draw(webui_models_plain, model)
    tags = _draw(webui_models_plain, model, *zip(LORAS[model], RATIOS, strict=True))
    before = webui_models_plain.log_mark()
    with _merged(webui_models_plain, model, kind) as name:
        one = _draw(webui_models_plain, model, (name, 1.0))
        listed = {lora["name"]: lora for lora in webui_models_plain.get("/sdapi/v1/loras").json()}
    assert largest(one, tags) <= 2
    assert largest(one, plain) > 20
    told = webui_models_plain.log(before)
    assert "didn't match keys" not in told
    assert "Traceback" not in told
    assert listed[name]["metadata"]["modelspec.title"] == name
