"""Hires. fix, img2img, inpainting, refiner, and what else a job may do while it is composed."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw

from tests.webui.exact import SMALL, asking, bindings, compose, require_exact, require_same
from tests.webui.jobs import PROMPT, difference, draw, fields, last, with_model
from tests.webui.server import Result, WebUI, WebUIError

HIRES: Mapping[str, Any] = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6}
STRETCHED = {"hr_resize_x": 128, "hr_resize_y": 96}
"""Another shape than the first pass's, so that the host cuts the enlarged latent."""
SEED = 2


def passes(host: WebUI) -> list[tuple[str, list[int], list[int]]]:
    """Of the last job: which pass, locked images and rows by step."""
    told = last(host)["batches"]
    return [(each["pass"], *([step[what] for step in each["steps"]] for what in ("locked", "rows"))) for each in told]


@pytest.mark.row("Passes and settings", "works", name="hires. fix, {upscaler}, {model}")
@pytest.mark.parametrize(
    ("model", "upscaler"),
    [("tiny-sd1", "Lanczos"), ("tiny-sd1", "Latent"), ("tiny-sdxl", "Latent"), ("tiny-sd2-v", "Latent")],
)
def test_hires_is_exact_and_draws_by_one_row(webui_models: WebUI, model: str, upscaler: str):
    job = {**HIRES, "hr_upscaler": upscaler, "seed": SEED, "sampler_name": "Euler"}
    require_exact(asking(webui_models, model, **job), model)
    assert compose(webui_models, model, {}, **job).images[0].size == (96, 96)
    assert passes(webui_models) == [("first", [0, 1, 1], [1, 4, 2]), ("hires", [1, 1, 1], [2, 2, 2])]


@pytest.mark.parametrize(("strength", "locked"), [(0.5, [1, 1, 1]), (0.9, [0, 1, 1])])
def test_a_strong_second_pass_finds_its_masks_anew(webui_models: WebUI, strength: float, locked: list[int]):
    """Before the position of the lock things may still move; behind it the first pass's masks hold."""
    job = {**HIRES, "denoising_strength": strength, "seed": SEED, "sampler_name": "Euler"}
    compose(webui_models, "tiny-sd1", {"profile": "fast"}, **job)
    (_, second) = passes(webui_models)
    assert second == ("hires", locked, [2, 2, 2])


@pytest.mark.row("Passes and settings", "works", name="hires. fix with another shape, sampler and prompt")
def test_hires_with_another_shape_sampler_and_prompt(webui_models: WebUI):
    job = {**HIRES, **STRETCHED, "hr_sampler_name": "DDIM", "seed": SEED, "steps": 5, "sampler_name": "Euler"}
    one = compose(webui_models, "tiny-sdxl", {}, **job)
    assert one.images[0].size == (128, 96)
    assert [name for name, _, _ in passes(webui_models)] == ["first", "hires"]
    other = compose(webui_models, "tiny-sdxl", {}, **job, hr_prompt=f"{PROMPT}, detailed")
    assert other.sha1 != one.sha1


@pytest.mark.row("Passes and settings", "works", name="hires. fix with updates")
def test_hires_updates_anew_when_it_is_asked_to(webui_models: WebUI):
    compose(webui_models, "tiny-sd1", {"hires_updates": True}, **{**HIRES, "denoising_strength": 1.0}, seed=SEED)
    first, second = last(webui_models)["batches"]
    assert [len(step["losses"]) for step in second["steps"]] == [len(step["losses"]) for step in first["steps"]]


@pytest.mark.row("Passes and settings", "refused in a sentence", name="a hires. prompt with other subjects")
def test_a_hires_prompt_with_other_subjects_is_refused_before_anything_is_drawn(webui_models: WebUI):
    with pytest.raises(WebUIError, match="not in the prompt") as refused:
        compose(webui_models, "tiny-sd1", {}, **HIRES, hr_prompt="a house")
    assert refused.value.status == 422


@pytest.mark.row(
    "Passes and settings", "works; of another kind: ends with a note", name="another checkpoint in hires. fix"
)
def test_another_checkpoint_in_hires_goes_on(webui_models: WebUI):
    job = {**HIRES, "hr_upscaler": "Lanczos", "seed": SEED}
    compose(webui_models, "tiny-sdxl", {}, **job, hr_checkpoint_name="tiny-sdxl-v")
    assert [name for name, _, _ in passes(webui_models)] == ["first", "hires"]
    compose(webui_models, "tiny-sdxl", {}, **job, hr_checkpoint_name="tiny-sd1")
    assert [name for name, _, _ in passes(webui_models)] == ["first"]
    assert last(webui_models)["error"] is None


@pytest.mark.row("Passes and settings", "works, else ends with a note", name="refiner")
def test_a_refiner_of_the_same_kind_is_composed_and_another_draws_on(webui_models: WebUI):
    job = {"seed": SEED, "steps": 6, "sampler_name": "Euler", "refiner_switch_at": 0.5}
    before = compose(webui_models, "tiny-sdxl", {}, seed=SEED).sha1
    compose(webui_models, "tiny-sdxl", {}, **job, refiner_checkpoint="tiny-sdxl-v")
    (_, _, first), (_, locked, second) = passes(webui_models)
    assert len(first) + len(second) == 6
    assert all(locked)
    compose(webui_models, "tiny-sdxl", {}, **job, refiner_checkpoint="tiny-sd1")
    ((_, _, rows),) = passes(webui_models)
    assert 0 < len(rows) < 6
    assert compose(webui_models, "tiny-sdxl", {}, seed=SEED).sha1 == before


def mask() -> Image.Image:
    """White where it is inpainted."""
    found = Image.new("L", (64, 64))
    ImageDraw.Draw(found).rectangle((8, 8, 39, 55), fill=255)
    return found


FROM_IMAGE: Mapping[str, Any] = {"steps": 6, "seed": SEED, "mask_blur": 0}
INPAINTING = {
    "strong": {"denoising_strength": 1.0},
    "weak": {"denoising_strength": 0.4},
    "original": {"mask": True, "inpainting_fill": 1},
    "noise": {"mask": True, "inpainting_fill": 2},
    "only-masked": {"mask": True, "inpaint_full_res": True, "inpaint_full_res_padding": 8},
}


MODELS = (("tiny-sd1", "Euler"), ("tiny-sd1", "DPM++ 2M"), ("tiny-sd1-inpainting", "DDIM"), ("tiny-sdxl", "Euler"))
WAYS = [(way, *each) for way, each in product(INPAINTING, MODELS) if (way, each[0]) != ("weak", "tiny-sdxl")]
"""Of a picture that is hardly changed, random SDXL makes 3 of 255 from rounding."""


@pytest.mark.row("Passes and settings", "works", name="from an image, {way}: {model}, {sampler}")
@pytest.mark.parametrize(("way", "model", "sampler"), WAYS)
def test_from_an_image_it_is_exact(webui_models: WebUI, model: str, way: str, sampler: str):
    """The host samples its autoencoder by torch's own random numbers: a job has to follow one that drew as many."""
    host = webui_models
    image = draw(host, **{**SMALL, **with_model(model)}).images[0]
    job = {**FROM_IMAGE, **INPAINTING[way], "sampler_name": sampler, **with_model(model)}
    inpainted = mask() if job.pop("mask", False) else None

    def ask(prompt: str = PROMPT, weight: float = 1.0, **wanted: Any) -> Result:
        asked = fields(bindings=bindings(model, weight), **wanted) if wanted else {}
        return host.img2img(image, inpainted, **{**SMALL, "prompt": prompt, **job, **asked})

    ask()
    require_exact(ask, model)


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_what_is_kept_of_an_inpainted_picture_is_kept(webui_models: WebUI, sampler: str):
    """Updates move what is drawn alone: outside of the mask the picture is the one that was given."""
    image = draw(webui_models, **{**SMALL, **with_model("tiny-sd1")}).images[0]
    asked = fields(bindings=bindings("tiny-sd1"), profile="authors", update_until=6, step_size=100)
    job = {**SMALL, **FROM_IMAGE, "prompt": PROMPT, "sampler_name": sampler, "denoising_strength": 1.0, **asked}
    found = webui_models.img2img(image, mask(), **job, **with_model("tiny-sd1")).images[0]
    assert sum(len(step["losses"]) for step in last(webui_models)["batches"][0]["steps"]) > 1
    kept = ImageChops.multiply(ImageChops.difference(found, image), ImageChops.invert(mask()).convert("RGB"))
    assert kept.getbbox() is None
    assert difference(found, image)[1] > 1


SOFT = {"Soft inpainting": {"args": [True, 1, 0.5, 4, 0, 0.5, 2]}}
"""On, and the other sliders as the host has them (extensions-builtin/soft-inpainting)."""


@pytest.mark.row("Passes and settings", "works", name="soft inpainting, {sampler}")
@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_soft_inpainting_is_exact(webui_models: WebUI, sampler: str):
    host, model = webui_models, "tiny-sd1"
    image = draw(host, **{**SMALL, **with_model(model)}).images[0]
    job = {**SMALL, **FROM_IMAGE, "mask_blur": 4, "sampler_name": sampler, **with_model(model)}

    def ask(prompt: str = PROMPT, weight: float = 1.0, **wanted: Any) -> Result:
        asked = fields(bindings=bindings(model, weight), **wanted)["alwayson_scripts"] if wanted else {}
        return host.img2img(image, mask(), **{**job, "prompt": prompt, "alwayson_scripts": {**SOFT, **asked}})

    soft = ask()
    require_exact(ask, model)
    assert host.img2img(image, mask(), **{**job, "prompt": PROMPT}).sha1 != soft.sha1


SETTINGS = {
    "token-merging": {"token_merging_ratio": 0.5},
    "hypertile": {"hypertile_enable_unet": True},
    "skip-early": {"skip_early_cond": 0.5},
    "halves-apart": {"batch_cond_uncond": False},
    "clip-skip": {"CLIP_stop_at_last_layers": 2},
    "padded": {"pad_cond_uncond": True},
    "padded-as-before": {"pad_cond_uncond_v0": True},
}


@pytest.mark.row("Passes and settings", "works", name="setting: {name}")
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_host_are_gone_along_with(webui_models: WebUI, name: str):
    """A LoRA of weight 0 changes nothing. Token merging and hypertile are off in our passes, and on again after."""
    override = with_model("tiny-sd1", **SETTINGS[name])
    plain = draw(webui_models, **{**SMALL, **override, "seed": SEED})
    off = draw(webui_models, **{**SMALL, **with_model("tiny-sd1"), "seed": SEED})
    silent = compose(webui_models, "tiny-sd1", {"method": "masks"}, weight=0, **override, seed=SEED)
    require_same(silent, off if name in ("token-merging", "hypertile") else plain)
    assert draw(webui_models, **{**SMALL, **override, "seed": SEED}).sha1 == plain.sha1


JOBS = {
    "no-guidance": {"cfg_scale": 1},
    "no-guidance-late": {"s_min_uncond": 4.0, "steps": 8},
    "odd": {"width": 72, "height": 104},
    "wide": {"width": 152, "height": 104},
    "tiling": {"tiling": True},
    "break": {"prompt": "a cat BREAK and a dog"},
    "edited": {"prompt": "a cat and a dog in [grass:snow:0.5]", "steps": 6},
    "variation": {"subseed": 5, "subseed_strength": 0.4, "seed_resize_from_h": 128, "seed_resize_from_w": 128},
    "long": {"prompt": PROMPT + ", grass" * 80},
    "long-negative": {"negative_prompt": "blurry, " * 80},
}


@pytest.mark.row("Passes and settings", "works", name="{name}, {model}")
@pytest.mark.parametrize("model", ["tiny-sd1", "tiny-sdxl"])
@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_exact_whatever_else_it_does(webui_models: WebUI, model: str, name: str):
    job = {"seed": SEED, "sampler_name": "Euler", **JOBS[name]}
    plain = draw(webui_models, **{**SMALL, **with_model(model), **job})
    require_same(compose(webui_models, model, {"method": "masks"}, weight=0, **job), plain)
    drawn = compose(webui_models, model, {}, **job)
    assert drawn.sha1 != plain.sha1
    assert drawn.images[0].size == plain.images[0].size
