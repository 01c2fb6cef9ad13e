"""Other extensions beside ours: a probe that does what they do, and the real ones where `NEIGHBOURS` has their source.

`NEIGHBOURS` is a folder with their repositories by name, and `site-packages` with what these need.
"""

import base64
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.webui.conftest import CHECKOUT, OVERRIDDEN
from tests.webui.exact import require_same
from tests.webui.jobs import BINDINGS, PROMPT, SILENT, SMALL, draw, fields, last, require_alike
from tests.webui.server import Model, Result, Setup, WebUI, WebUIError, pixel_sha1

Do = Callable[..., None]
CALLED = "calls the UNet in its own way"


def compose(host: WebUI, scripts: Mapping[str, Any] | None = None, *, silent: bool = False, **payload: Any) -> Result:
    """Two LoRAs on cat and dog, beside other extensions' scripts; ``silent`` ones change nothing."""
    asked = fields(bindings=list(SILENT), method="masks") if silent else fields(bindings=list(BINDINGS))
    asked["alwayson_scripts"] |= scripts or {}
    return draw(host, **{**SMALL, **asked, **payload})


def plain(host: WebUI, scripts: Mapping[str, Any] | None = None, **payload: Any) -> Result:
    """The same without us."""
    return draw(host, **{**SMALL, "alwayson_scripts": dict(scripts or {}), **payload})


def notes(host: WebUI) -> str:
    return " ".join(last(host)["batches"][0]["notes"])


def refused(host: WebUI, scripts: Mapping[str, Any] | None = None, **payload: Any) -> str:
    """The sentence of a job that must not be drawn."""
    with pytest.raises(WebUIError) as caught:
        compose(host, scripts, **payload)
    assert caught.value.status in (409, 422), caught.value
    return str(caught.value)


# -- a probe that does what they do ----------------------------------------------------------------------------------


@pytest.fixture
def does(webui_probed: WebUI) -> Iterator[Do]:
    """Tells the probe what to do to jobs."""

    def ask(*wanted: str) -> None:
        webui_probed.post("/probe/neighbour", {"does": list(wanted)}).raise_for_status()

    yield ask
    ask()


def told(host: WebUI) -> dict[str, Any]:
    return host.get("/probe/neighbour").json()


def test_marks_are_on_every_row_and_change_nothing(webui_probed: WebUI, does: Do):
    before = compose(webui_probed).sha1
    unmarked = compose(webui_probed, silent=True)
    does("mark")
    require_same(compose(webui_probed, silent=True), plain(webui_probed))
    compose(webui_probed)
    assert told(webui_probed)["forward"] == SMALL["steps"]
    assert f"probe_extension {CALLED}" in notes(webui_probed)
    does()
    require_same(compose(webui_probed, silent=True), unmarked)
    assert compose(webui_probed).sha1 == before
    assert CALLED not in notes(webui_probed)


@pytest.mark.parametrize(("what", "words"), [("words", "adds tokens"), ("attention", "cross-attention")])
def test_what_would_draw_noise_is_refused_by_name(webui_probed: WebUI, does: Do, what: str, words: str):
    composed, alone = compose(webui_probed).sha1, plain(webui_probed).sha1
    does(what)
    sentence = refused(webui_probed)
    assert words in sentence
    assert "turn it off" in sentence
    assert told(webui_probed)["ended"], "the other extension is told that the job is over"
    does()
    assert plain(webui_probed).sha1 == alone
    assert compose(webui_probed).sha1 == composed


def test_an_argument_of_a_tag_that_nobody_reads_is_told(webui_probed: WebUI):
    prompt = PROMPT + " <lora:tinyA:1:bind=cat:lbw=OUTD> <lora:tinyB:1:bind=dog>"
    draw(webui_probed, prompt=prompt, **SMALL, **fields())
    assert "“lbw=” of LoRA tinyA does nothing" in notes(webui_probed)


# -- the real ones ---------------------------------------------------------------------------------------------------

NAMES = (
    "sd-webui-controlnet",
    "sd-webui-lora-block-weight",
    "sd-webui-negpip",
    "sd-webui-regional-prompter",
    "sd-dynamic-thresholding",
    "CFG_Rescale_webui",
    "sd-webui-freeu",
)
NEGPIP = {"negpip": {"args": [True]}}
WEIGHTS = f"NONE:{','.join('0' * 17)}\nALL:{','.join('1' * 17)}\nOUTD:1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0"
BLOCKS = {"lora block weight": {"args": [WEIGHTS, True]}}
THRESHOLDING = {
    "dynamic thresholding (cfg scale fix)": {
        "args": [True, 3.0, 95.0, "Constant", 0.0, "Constant", 0.0, 4.0, "enable", "MEAN", "AD", 1.0]
    }
}
RESCALE = {"cfg rescale extension": {"args": [0.7, False, 1.0, False]}}


def regions(mode: str) -> dict[str, Any]:
    """Regional Prompter on two columns."""
    start = [True, False, "Matrix", "Columns", "Mask", "Prompt", "1,1", "0.2", False, False, False]
    return {"regional prompter": {"args": [*start, mode, False, "0", "0", "0.4", None]}}


def control(**values: Any) -> dict[str, Any]:
    """ControlNet's preprocessor that needs no model."""
    kept = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 60, 10)).save(kept, "PNG")
    picture = base64.b64encode(kept.getvalue()).decode()
    unit = {"enabled": True, "module": "reference_only", "model": "None", "image": picture, **values}
    return {"controlnet": {"args": [unit]}}


@pytest.fixture(scope="module")
def real(webui_dir: Path, parity_model: Model) -> Iterator[WebUI]:
    """A WebUI with this extension and the real others."""
    named = os.environ.get("NEIGHBOURS")
    if not named:
        pytest.skip("Set NEIGHBOURS to a folder with the repositories of other extensions.")
    folder = Path(named).expanduser()
    missing = [name for name in NAMES if not (folder / name / "scripts").is_dir()]
    if missing:
        pytest.skip(f"NEIGHBOURS has no {', '.join(missing)}.")
    others = tuple(folder / name for name in NAMES)
    more = {"PYTHONPATH": str(folder / "site-packages")}
    setup = Setup(webui_dir, parity_model, (CHECKOUT, *others), ui=False, settings=OVERRIDDEN, environment=more)
    with WebUI(setup) as host:
        yield host


@pytest.fixture(scope="module")
def alone(real: WebUI) -> dict[str, str]:
    """What is drawn beside neighbours that have nothing to do, before any other job."""
    return {"plain": plain(real).sha1, "composed": compose(real).sha1}


@pytest.fixture(autouse=True)
def _unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each job with a real one, pictures are as before it."""
    yield
    if "alone" in request.fixturenames:
        host, before = request.getfixturevalue("real"), request.getfixturevalue("alone")
        assert {"plain": plain(host).sha1, "composed": compose(host).sha1} == before


def test_neighbours_with_empty_hands_change_nothing(webui: WebUI, alone: dict[str, str]):
    assert alone == {"plain": plain(webui).sha1, "composed": compose(webui).sha1}


def test_beside_controlnet(real: WebUI, alone: dict[str, str]):
    """A unit that has stopped still marks the texts and calls the UNet by itself."""
    stopped = control(guidance_start=0.9)
    require_same(compose(real, stopped, silent=True), plain(real, stopped))
    assert compose(real, stopped).sha1 != alone["plain"]
    assert f"sd-webui-controlnet {CALLED}" in notes(real)


def test_controlnets_reference_is_refused(real: WebUI, alone: dict[str, str]):
    assert "sd-webui-controlnet" in refused(real, control())


def test_block_weights_count(real: WebUI, alone: dict[str, str]):
    prompt = PROMPT + " <lora:tinyA:{}:bind=cat> <lora:tinyB:1:bind=dog>"

    def weighed(tag: str) -> str:
        return compose(real, BLOCKS | fields()["alwayson_scripts"], prompt=prompt.format(tag)).sha1

    assert weighed("1:lbw=NONE") == weighed("0")
    assert len({weighed("1"), weighed("0"), weighed("1:lbw=OUTD")}) == 3
    assert "lbw=" not in notes(real)


METHODS: Sequence[Mapping[str, Any]] = (
    {"method": "masks"},
    {"method": "clora", "update_until": 100},
    {"profile": "fast"},
)


@pytest.mark.parametrize("method", METHODS, ids=["masks", "clora", "fast"])
def test_steps_of_a_lora_count(real: WebUI, alone: dict[str, str], method: Mapping[str, Any]):
    """As that extension reads them: WebUI tells it of a step after the next has begun."""
    prompt = PROMPT + " <lora:tinyA:{}:bind=cat> <lora:tinyB:1:bind=dog>"

    def timed(tag: str) -> Image.Image:
        asked = BLOCKS | fields(**method)["alwayson_scripts"]
        return compose(real, asked, prompt=prompt.format(tag), steps=5).images[0]

    always, never = timed("1"), timed("1:0")
    for tag, expected in (("start=1", always), ("stop=9", always), ("start=9", never), ("stop=1", never)):
        require_alike(timed(f"1:{tag}"), expected)
    drawn = [always, never, *(timed(f"1:{tag}") for tag in ("start=3", "stop=3", "step=2-4"))]
    assert len({pixel_sha1(each) for each in drawn}) == len(drawn)
    assert "does nothing" not in notes(real)


def test_steps_that_were_reached_are_forgotten(real: WebUI, alone: dict[str, str]):
    """What was bound draws from the first step on when WebUI next draws it."""
    tagged = f"{PROMPT} <lora:tinyA:1>"
    before = plain(real, BLOCKS, prompt=tagged).sha1
    timed = PROMPT + " <lora:tinyA:1:start=2:bind=cat> <lora:tinyB:1:bind=dog>"
    compose(real, BLOCKS | fields()["alwayson_scripts"], prompt=timed, steps=4)
    assert plain(real, BLOCKS, prompt=tagged).sha1 == before


@pytest.mark.parametrize(
    ("name", "scripts", "prompt"),
    [
        ("sd-webui-negpip", NEGPIP, f"{PROMPT}, (sun:-1.0)"),
        ("sd-webui-regional-prompter", regions("Attention"), "a cat BREAK a dog"),
        ("sd-webui-regional-prompter", regions("Latent"), "a cat BREAK a dog"),
    ],
)
def test_refused_by_name(real: WebUI, alone: dict[str, str], name: str, scripts: dict[str, Any], prompt: str):
    before = plain(real, scripts, prompt=prompt).sha1
    assert name in refused(real, scripts, prompt=prompt)
    assert plain(real, scripts, prompt=prompt).sha1 == before


def test_negpip_without_a_negative_weight_is_not_there(real: WebUI, alone: dict[str, str]):
    assert compose(real, NEGPIP).sha1 == alone["composed"]


@pytest.mark.parametrize("scripts", [THRESHOLDING, RESCALE], ids=["thresholding", "rescale"])
def test_together(real: WebUI, alone: dict[str, str], scripts: dict[str, Any]):
    drawn = plain(real, scripts)
    assert drawn.sha1 != alone["plain"], "it does something"
    require_same(compose(real, scripts, silent=True), drawn)
    assert compose(real, scripts).sha1 not in (drawn.sha1, alone["composed"])
