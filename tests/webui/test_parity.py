"""The extension in the real WebUI draws, through the API, what the authors' own code and our obvious one draw.

Slow, so conftest puts these last.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import cases
from tests.slow import needs_time
from tests.webui.jobs import BINDINGS, PROMPT, fields, last
from tests.webui.server import Result, WebUI

AUTHORS = Path(__file__).resolve().parents[1] / "golden" / "authors"
JOB = {"steps": 10, "sampler_name": "DDIM", "scheduler": "Automatic", "override_settings": {"return_grid": False}}

LARGEST, MEAN = 2, 0.002
"""A match, of 255: rounding only. Wrong details are further off: see golden/authors/README.md."""

RELEASED = {
    "A06-s1": {"method": "masks", "mask_threshold": 0.6},
    "B-s1": {"mask_threshold": 0.3, "update_until": 5},
}
LARGE_LAST = sorted(cases.names(), key=lambda name: (cases.read(name).width * cases.read(name).height, name))


def require_match(expected: Sequence[Path], drawn: Result) -> None:
    """Every picture is the expected one but for rounding."""
    assert len(drawn.images) == len(expected)
    for file, image in zip(expected, drawn.images, strict=True):
        largest, mean = cases.difference(file, image)
        assert largest <= LARGEST, (file.name, largest, mean)
        assert mean < MEAN, (file.name, largest, mean)


def done_steps(host: WebUI) -> list[dict[str, Any]]:
    """The steps of the job that has just ended."""
    return last(host)["batches"][0]["steps"]


@pytest.mark.parametrize("name", LARGE_LAST)
def test_the_obvious_implementation_is_matched(webui: WebUI, name: str):
    case = cases.read(name)
    drawn = webui.txt2img(
        **JOB,
        **fields(**case.fields),
        prompt=case.prompt,
        negative_prompt=case.negative,
        width=case.width,
        height=case.height,
        cfg_scale=case.cfg_scale,
        seed=min(case.pictures),
        batch_size=len(case.pictures),
    )
    require_match(list(case.pictures.values()), drawn)
    written = json.loads((cases.FOLDER / f"{name}.json").read_text(encoding="utf-8"))["pictures"]
    for index, step in enumerate(done_steps(webui)):
        expected = [picture["steps"][index] for picture in written]
        losses = [sum(images) for images in zip(*(each["losses"] for each in expected), strict=True)]
        assert step["losses"] == pytest.approx(losses, rel=1e-3)


@needs_time
@pytest.mark.parametrize("name", RELEASED)
def test_the_authors_code_is_matched(webui: WebUI, name: str):
    asked = fields(profile="authors", bindings=list(BINDINGS), **RELEASED[name])
    drawn = webui.txt2img(**JOB, **asked, prompt=PROMPT, width=512, height=512, cfg_scale=7.5, seed=1)
    require_match([AUTHORS / f"{name}.png"], drawn)
    golden = json.loads((AUTHORS / f"{name}.json").read_text(encoding="utf-8"))
    losses = [loss for step in done_steps(webui) for loss in step["losses"]]
    assert losses == pytest.approx(golden.get("loss", []), abs=1e-3)
