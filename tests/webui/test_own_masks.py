"""Masks of one's own in the real WebUI: drawn with, told, taken back and sent again, in the API."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.webui.jobs import BINDINGS, PROMPT, SMALL, compose, draw, fields, last
from tests.webui.server import Result, WebUI

JOB_OF_THREE: Mapping[str, Any] = {**SMALL, "steps": 3, "seed": 2, "sampler_name": "Euler"}
HIRES: Mapping[str, Any] = {"enable_hr": True, "hr_upscaler": "Latent", "denoising_strength": 0.6}


def half(left: bool) -> Image.Image:
    """White in one half."""
    picture = Image.new("L", (64, 64))
    picture.paste(255, (0, 0, 32, 64) if left else (32, 0, 64, 64))
    return picture


def sent(picture: Image.Image) -> str:
    kept = io.BytesIO()
    picture.save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode("ascii")


LEFT, RIGHT = sent(half(left=True)), sent(half(left=False))


def masked(host: WebUI, masks: Sequence[str], way: str = "fixed", **payload: Any) -> Result:
    """The small job with masks, in the bindings' order."""
    said = [{**each, "mask": mask, "mask_way": way} for each, mask in zip(BINDINGS, masks, strict=True)]
    return compose(host, {"bindings": said}, **{**JOB_OF_THREE, **payload})


def told(host: WebUI) -> list[np.ndarray]:
    """The masks of the last job."""
    pictures = [each["png"] for each in host.get("/clora/v1/masks").json()]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))) for png in pictures]


def enlarged(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))


@pytest.mark.row("Own masks", "works", name="fixed")
def test_fixed_masks_are_the_masks_from_the_first_step_on(webui: WebUI):
    found = masked(webui, [LEFT, RIGHT])
    cat, dog = told(webui)
    assert cat.shape == (8, 8)
    assert (cat[:, :4] == 255).all()
    assert not cat[:, 4:].any()
    assert (dog == 255 - cat).all()
    (batch,) = last(webui)["batches"]
    assert [step["locked"] for step in batch["steps"]] == [1, 1, 1]
    assert [step["rows"] for step in batch["steps"]] == [2, 2, 2]
    assert [each["mask_way"] for each in batch["own_masks"]] == ["fixed", "fixed"]
    assert "CLoRA masks: " in found.infotexts[0]
    assert LEFT not in str(found.info)
    own = webui.get("/clora/v1/masks").json()[0]["own"]
    assert own == {"mask": LEFT, "mask_way": "fixed"}
    assert masked(webui, [RIGHT, LEFT]).sha1 != found.sha1


@pytest.mark.row("Own masks", "works", name="the last picture's, sent back")
def test_the_last_masks_sent_back_fixed_are_the_same_masks(webui: WebUI):
    compose(webui, {"method": "masks"}, **JOB_OF_THREE)
    before = told(webui)
    assert all(mask.any() for mask in before), "a black mask can not be sent"
    masked(webui, [sent(Image.fromarray(mask)) for mask in before])
    for one, other in zip(before, told(webui), strict=True):
        assert np.abs(enlarged(one, other.shape).astype(int) - other.astype(int)).max() <= 1


@pytest.mark.row("Own masks", "works", name="limited, added")
def test_limited_never_draws_outside_and_added_always_inside(webui: WebUI):
    masked(webui, [LEFT, RIGHT], "limited")
    cat, dog = told(webui)
    assert not cat[:, 4:].any()
    assert not dog[:, :4].any()
    masked(webui, [LEFT, RIGHT], "added")
    cat, dog = told(webui)
    assert (cat[:, :4] == 255).all()
    assert (dog[:, 4:] == 255).all()


@pytest.mark.row("Own masks", "works", name="in hires. fix")
@pytest.mark.parametrize("updates", [False, True])
def test_a_second_pass_that_is_cut_has_its_part_of_the_masks(webui: WebUI, updates: bool):
    said = [{**each, "mask": mask} for each, mask in zip(BINDINGS, (LEFT, RIGHT), strict=True)]
    wanted = {"bindings": said, "hires_updates": updates}
    compose(webui, wanted, **{**JOB_OF_THREE, **HIRES}, hr_resize_x=128, hr_resize_y=96)
    assert [each["pass"] for each in last(webui)["batches"]] == ["first", "hires"]
    areas = last(webui)["batches"][1]["steps"][-1]["areas"]
    assert areas[0] == [0.0, 0.5, 0.5]


@pytest.mark.row("Own masks", "works", name="of one LoRA alone")
def test_one_lora_is_kept_within_its_mask(webui: WebUI):
    one = {**BINDINGS[0], "mask": LEFT}
    found = draw(webui, **JOB_OF_THREE, **fields(bindings=[one]))
    assert last(webui)["composed"]
    assert "CLoRA plain" not in found.infotexts[0]


@pytest.mark.row("Own masks", "left out, with a note", name="with a method without masks")
def test_a_method_without_masks_says_that_it_leaves_them_out(webui: WebUI):
    said = [{**each, "mask": LEFT} for each in BINDINGS]
    compose(webui, {"bindings": said, "method": "switch"}, **JOB_OF_THREE)
    (batch,) = last(webui)["batches"]
    assert "the method switch takes no masks; yours were left out." in batch["notes"]


@pytest.mark.row("Own masks", "refused in a sentence", name="no picture, too large, empty")
@pytest.mark.parametrize(
    ("bindings", "words"),
    [
        ([{**BINDINGS[0], "mask": "aGk="}, BINDINGS[1]], "no picture that can be read"),
        ([{**BINDINGS[0], "mask": sent(Image.new("L", (8, 8)))}, BINDINGS[1]], "black all over"),
        ([{**BINDINGS[0], "mask": LEFT, "mask_way": "near"}, BINDINGS[1]], "fixed, limited, added"),
        ([*BINDINGS, {"lora": "tinyC", "mask": LEFT}], "tinyC"),
    ],
)
def test_a_wrong_mask_is_refused_with_its_field(webui: WebUI, bindings: list[dict[str, Any]], words: str):
    answer = webui.post("/sdapi/v1/txt2img", {"prompt": PROMPT, **JOB_OF_THREE, **fields(bindings=bindings)})
    assert answer.status_code == 422
    assert words in answer.text
    estimated = webui.post("/clora/v1/estimate", {"prompt": PROMPT, "clora": {"bindings": bindings}}).json()
    assert words in estimated["line"]
