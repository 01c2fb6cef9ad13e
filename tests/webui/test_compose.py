"""Composing through the host's API: methods, batches, prompts, settings of the host, infotext and our own routes."""

import base64
import io
import math
from collections.abc import Callable
from functools import cache

import pytest
import requests
from PIL import Image

from tests.webui.conftest import CHECKOUT
from tests.webui.jobs import (
    BINDINGS,
    PROMPT,
    SILENT,
    SIZE,
    SMALL,
    TAGGED,
    compose,
    difference,
    draw,
    fields,
    last,
    require_alike,
    steps,
)
from tests.webui.server import Setup, WebUI, pixel_sha1

METHODS = ("clora", "masks", "composite", "switch")
PROFILES = ("fast", "balanced", "authors", "paper")
MADE = [*({"method": method} for method in METHODS), {"profile": "authors"}, {"profile": "paper"}]
"""Requests that draw different pictures; the first is the default."""


Made = Callable[..., Image.Image]


@pytest.fixture(scope="module")
def made(webui: WebUI) -> Made:
    """The picture of a request (name of a profile, of a method, or both), drawn once."""
    return cache(lambda **wanted: compose(webui, wanted).images[0])


# -- methods and profiles ----------------------------------------------------------------------------------------------


def test_every_method_and_profile_draws_its_own_picture(webui: WebUI, made: Made):
    pictures = [made(**wanted) for wanted in (*MADE, {"method": "merge"})] + [draw(webui).images[0]]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("wanted", MADE, ids=str)
def test_same_request_draws_the_same_picture(webui: WebUI, made: Made, wanted: dict):
    assert compose(webui, wanted).images[0].tobytes() == made(**wanted).tobytes()


TAGS = (
    "<lora:tinyA:1> a cat and <lora:tinyB:1> a dog",
    "a cat and a dog <lora:tinyA:1:bind=cat><lora:tinyB:1:bind=dog>",
)


@pytest.mark.parametrize("prompt", TAGS, ids=["before-the-words", "bind"])
def test_tags_alone_bind(webui: WebUI, prompt: str):
    """A LoRA's tag in front of its subject, or with the subject in it, says the same as an explicit binding."""
    bindings = [{name: binding[name] for name in ("lora", "subject")} for binding in BINDINGS]
    tagged = draw(webui, prompt=prompt, **SMALL, **fields(profile="balanced"))
    assert tagged.sha1 == compose(webui, {"bindings": bindings}, **SMALL).sha1
    assert tagged.sha1 != draw(webui, prompt=TAGGED, **SMALL).sha1
    assert "tinyA" in tagged.infotexts[0].split("Lora hashes:")[1]


def test_weights_and_triggers_matter(webui: WebUI):
    cat, dog = BINDINGS
    cats = (cat, {**cat, "weight": 0.5}, {**cat, "trigger": "zorv"}, {**cat, "trigger": ""})
    assert len({compose(webui, {"bindings": [one, dog]}, **SMALL).sha1 for one in cats}) == len(cats)


def test_a_style_on_everything_and_on_one_subject(webui: WebUI):
    style = {"lora": "tinyStyle", "weight": 0.8}
    styles = (
        [],
        [{**style, "role": "style"}],
        [{**style, "role": "style_on", "on": "cat"}],
        [{**style, "role": "style_on", "on": "tinyB"}],
    )
    drawn = {compose(webui, {"bindings": [*BINDINGS, *more]}, **SMALL).sha1 for more in styles}
    assert len(drawn) == len(styles)


@pytest.mark.parametrize("method", ["masks", "composite"])
def test_a_style_everywhere_is_the_hosts_own(webui: WebUI, method: str):
    """With LoRAs of no weight on the subjects, and no emphasis, the picture is the host's own of the style's tag."""
    style = {"lora": "tinyStyle", "role": "style", "weight": 0.8}
    ours = compose(webui, {"method": method, "emphasis": 1, "bindings": [*SILENT, style]})
    require_alike(ours.images[0], draw(webui, prompt=f"{PROMPT} <lora:tinyStyle:0.8>").images[0])


@pytest.mark.parametrize("method", METHODS)
def test_loras_of_no_weight_draw_the_plain_picture(webui: WebUI, method: str):
    """Equal predictions fuse to themselves; no LoRA leaks in from a tag or a text encoder."""
    ours = compose(webui, {"method": method, "bindings": SILENT, "step_size": 0})
    require_alike(ours.images[0], draw(webui).images[0])


# -- several pictures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [{"profile": "authors"}, {}, {"method": "switch"}], ids=str)
def test_a_batch_is_its_pictures_alone(webui: WebUI, wanted: dict):
    """Seed and gradient of one picture never reach another, in a batch or in turn."""
    alone = [compose(webui, wanted, seed=seed).images[0] for seed in (11, 12)]
    settings = {"override_settings": {"return_grid": False}}
    assert difference(*alone)[1] > 1
    for several in ({"batch_size": 2}, {"n_iter": 2}):
        drawn = compose(webui, wanted, seed=11, **several, **settings).images
        assert len(drawn) == 2
        for one, other in zip(alone, drawn, strict=True):
            require_alike(one, other)


def test_batches_of_batches(webui: WebUI):
    settings = {"override_settings": {"return_grid": False}}
    many = compose(webui, seed=21, batch_size=2, n_iter=2, **settings)
    batches = last(webui)["batches"]
    assert len(many.images) == 4
    assert [len(batch["masks"]) for batch in batches] == [2, 2]
    require_alike(compose(webui, seed=24).images[0], many.images[3])


# -- prompts -----------------------------------------------------------------------------------------------------------

NUMBERS = ("two", "three", "four", "five", "six", "nine")
GARDENS = ", ".join(f"a very pretty garden with {number} old trees" for number in NUMBERS)
STILL = {"method": "masks", "uncond": "shared", "bindings": SILENT}
"""Draws the host's own picture exactly: no LoRA and no update."""
PROMPTS = {
    "emphasis": "a (cat:1.3) and a [dog] on ((grass))",
    "break": "a cat BREAK and a dog",
    "two-chunks": f"a cat and a dog, {GARDENS}, {GARDENS}",
    "subject-in-the-second-chunk": f"a cat, {GARDENS}, {GARDENS}, and a dog",
    "schedule": "a cat and a dog on [grass:sand:0.5]",
    "alternation": "a cat and a dog on [grass|sand]",
    "schedule-before": "[photo:painting:0.4] of a cat and a dog",
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
def test_prompt_composes(webui: WebUI, prompt: str):
    """Every branch's text is encoded and scheduled as the host does it: chunks, edits and emphasis included."""
    asked = {"prompt": prompt, "negative_prompt": "blurry", **SMALL, "steps": 3}
    plain = draw(webui, **asked).images[0]
    moved = compose(webui, **asked).images[0]
    assert steps(webui)[0]["separation"] is not None
    assert difference(moved, plain)[1] > 1
    require_alike(compose(webui, STILL, **asked).images[0], plain)


def test_an_edit_is_done_at_its_step(webui: WebUI):
    texts = ("[grass:sand:2]", "grass", "sand")
    asked = {**SMALL, "steps": 4}
    assert len({compose(webui, prompt=f"a cat and a dog on {text}", **asked).sha1 for text in texts}) == 3


# -- settings of the host ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [{"profile": "authors"}, {"profile": "paper"}, {"method": "composite"}], ids=str)
@pytest.mark.parametrize("setting", ["batch_cond_uncond", "pad_cond_uncond", "pad_cond_uncond_v0"])
def test_how_the_host_batches_does_not_matter(webui: WebUI, made: Made, wanted: dict, setting: str):
    """The rows reach the UNet in one call or in several; the texts are of one length, so there is nothing to pad."""
    turned = {"override_settings": {setting: setting != "batch_cond_uncond"}}
    require_alike(compose(webui, wanted, **turned).images[0], made(**wanted))


@pytest.mark.parametrize("setting", [{}, {"batch_cond_uncond": False}, {"pad_cond_uncond": True}], ids=str)
def test_texts_of_several_lengths(webui: WebUI, setting: dict):
    """Two chunks of prompt and one of negative prompt: the host splits the batch, or pads."""
    asked = {"prompt": PROMPTS["two-chunks"], "negative_prompt": "blurry", "override_settings": setting, **SMALL}
    plain = draw(webui, **asked).images[0]
    ours = compose(webui, {"profile": "authors"}, **asked).images[0]
    assert [step["rows"] + step["gradient_rows"] for step in steps(webui)] == [6] * SMALL["steps"]
    assert difference(ours, plain)[1] > 1
    require_alike(compose(webui, STILL, **asked).images[0], plain)


@pytest.mark.parametrize("setting", [{}, {"batch_cond_uncond": False}], ids=str)
@pytest.mark.parametrize("until", [0, 1000], ids=["predicted", "kept"])
def test_every_branchs_own_unconditional_row_has_a_text_of_its_own_length(webui: WebUI, setting: dict, until: int):
    """Two chunks of negative prompt and one of prompt: without LoRAs and moves all rows are the host's own."""
    negative = f"{GARDENS}, {GARDENS}"
    asked = {"negative_prompt": negative, "override_settings": setting, **SMALL, "steps": 4}
    wanted = {"profile": "authors", "step_size": 0, "update_until": until, "bindings": SILENT}
    require_alike(compose(webui, wanted, **asked).images[0], draw(webui, **asked).images[0])


def test_steps_without_guidance(webui: WebUI):
    """`skip_early_cond` leaves the unconditional rows of the first steps out; ours of that half are drawn with them."""
    asked = {"override_settings": {"skip_early_cond": 0.4}, "steps": 4}
    wanted = {"method": "masks", "route": False, "uncond": "branches"}
    ours = compose(webui, wanted, **asked).images[0]
    done = [step["rows"] for step in steps(webui)]
    silent = compose(webui, {**wanted, "bindings": SILENT}, **asked).images[0]
    assert done[0] < done[-1] == 6
    assert difference(ours, silent)[1] > 1
    require_alike(silent, draw(webui, **asked).images[0])


def test_functional_loras(webui: WebUI, made: Made):
    """The host adds LoRAs to outputs instead of weights: the same picture."""
    ours = compose(webui, override_settings={"lora_functional": True}).images[0]
    require_alike(ours, made(method="clora"))


# -- infotext ----------------------------------------------------------------------------------------------------------

WRITTEN = (
    {},
    {"profile": "authors", "mask_threshold": 0.45, "step_size": 12.5},
    {"method": "masks", "morphology": "open, dilate", "bindings": "tinyA: cat\ntinyB: dog, trigger=sks, weight=0.8"},
    {"profile": "paper", "rounds_at": "", "uncond": "branches"},
)


def redrawn(host: WebUI, infotext: str) -> str:
    """The digest of the picture that an infotext alone asks for."""
    answer = host.post("/sdapi/v1/txt2img", {"infotext": infotext})
    answer.raise_for_status()
    (drawn,) = answer.json()["images"]
    return pixel_sha1(Image.open(io.BytesIO(base64.b64decode(drawn))).convert("RGB"))


@pytest.mark.parametrize("wanted", WRITTEN, ids=["balanced", "authors", "masks", "paper"])
def test_an_infotext_draws_the_picture_again(webui: WebUI, wanted: dict):
    first = compose(webui, wanted, sampler_name="DDIM", negative_prompt="blurry", **SMALL)
    assert redrawn(webui, first.infotexts[0]) == first.sha1


def test_an_infotext_without_us_draws_the_plain_picture(webui: WebUI):
    compose(webui, **SMALL)
    plain = draw(webui, prompt=TAGGED, **SMALL)
    assert redrawn(webui, plain.infotexts[0]) == plain.sha1


# -- our routes --------------------------------------------------------------------------------------------------------


def test_the_last_job_is_reported(webui: WebUI):
    compose(webui, {"profile": "authors", "update_until": 2}, batch_size=2, override_settings={"return_grid": False})
    report = last(webui)
    (batch,) = report["batches"]
    done = batch["steps"]
    assert (report["profile"], report["method"], report["composed"]) == ("authors", "clora", True)
    assert report["error"] is None
    assert [word.split()[-1] for word in batch["subjects"]] == ["cat", "dog"]
    assert [step["index"] for step in done] == list(range(SIZE["steps"]))
    assert [len(step["losses"]) for step in done] == [1, 1, 0]
    assert all(math.isfinite(loss) and loss > 0 for step in done for loss in step["losses"])
    assert [step["gradient_rows"] for step in done] == [12, 12, 0]
    assert report["unet_rows"] == batch["unet_rows"] == 3 * 12  # the gradient passes' predictions are the steps'
    assert 0 < batch["seconds"] <= report["job_seconds"]
    assert report["peak_memory_bytes"] > 100 << 20


def test_the_reported_masks_share_every_pixel_out(webui: WebUI):
    compose(webui, {"method": "masks", "mask_threshold": 0.6})
    (masks,) = last(webui)["batches"][0]["masks"]
    pixels = [shares for rows in zip(*masks, strict=True) for shares in zip(*rows, strict=True)]
    assert len(masks) == 3
    assert [sum(shares) for shares in pixels] == pytest.approx([1.0] * len(pixels), abs=1e-5)
    assert len(set(pixels)) > 1, "the masks must tell some pixels from others"


def test_schema_and_version(webui: WebUI):
    version = webui.get("/clora/v1/version").json()
    schema = webui.get("/clora/v1/schema").json()
    drawn = compose(webui, {"profile": "fast"}, **SMALL)
    assert version["profiles"] == list(PROFILES)
    assert set(METHODS) < set(version["methods"])
    assert f"CLoRA version: {version['version']}" in drawn.infotexts[0]
    assert schema["additionalProperties"] is False
    defaults = {name: entry["default"] for name, entry in schema["properties"].items() if "default" in entry}
    assert len(defaults) > 20
    assert compose(webui, defaults, **SMALL).sha1 == drawn.sha1
    assert "clora" in [name.lower() for name in webui.get("/sdapi/v1/scripts").json()["txt2img"]]


def test_routes_ask_for_the_accounts_of_the_api(webui: WebUI):
    setup = Setup(webui.setup.webui, webui.setup.model, (CHECKOUT,), ui=False, auth=("user", "secret"))
    with WebUI(setup) as host:
        for route in ("version", "schema", "last"):
            address = f"{host.url}/clora/v1/{route}"
            for account in (None, ("user", "wrong"), ("nobody", "")):
                assert requests.get(address, auth=account, timeout=60).status_code == 401
        assert host.get("/clora/v1/last").status_code == 404
        assert host.get("/clora/v1/version").status_code == 200
        assert compose(host, **SMALL).sha1 == compose(webui, **SMALL).sha1
        assert host.get("/clora/v1/last").json()["composed"] is True
