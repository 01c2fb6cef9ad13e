"""Beside the real extensions of others, where `NEIGHBOURS` has their source.

`NEIGHBOURS` is a folder with their repositories by name, and `site-packages` with what these need.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.models.kinds import eight_heads
from tests.webui.beside import compose, notes, plain, refused
from tests.webui.conftest import CHECKOUT, OVERRIDDEN
from tests.webui.exact import require_same
from tests.webui.jobs import PROMPT, fields, require_alike, with_model
from tests.webui.others import (
    BLOCKS,
    COMPOSABLE,
    DRAWING,
    FREEU,
    GUIDANCE,
    NAMES,
    NEGPIP,
    RESCALE,
    THRESHOLDING,
    control,
    regions,
    tiles,
)
from tests.webui.server import Model, Setup, WebUI, pixel_sha1

CALLED = "sd-webui-controlnet calls the UNet in its own way"


def of_small_widths(freeu: Path, folder: Path) -> Path:
    """A copy of FreeU that looks for the widths of the tiny model, a tenth of those of Stable Diffusion."""
    found = folder / freeu.name
    shutil.copytree(freeu, found)
    code = found / "lib_free_u" / "unet.py"
    wide, narrow = "[1280, 640, 320]", "[128, 64, 32]"
    text = code.read_text(encoding="utf-8")
    assert wide in text
    code.write_text(text.replace(wide, narrow), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def real(webui_dir: Path, parity_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUI]:
    """A WebUI with this extension and the real others."""
    named = os.environ.get("NEIGHBOURS")
    if not named:
        pytest.skip("Set NEIGHBOURS to a folder with the repositories of other extensions.")
    folder = Path(named).expanduser()
    missing = [name for name in NAMES if not (folder / name / "scripts").is_dir()]
    if missing:
        pytest.skip(f"NEIGHBOURS has no {', '.join(missing)}.")
    freeu = of_small_widths(folder / "sd-webui-freeu", tmp_path_factory.mktemp("extensions"))
    others = (freeu, *(folder / name for name in NAMES if name != freeu.name))
    more = {"PYTHONPATH": str(folder / "site-packages")}
    settings = {**OVERRIDDEN, **DRAWING}
    models = (eight_heads(parity_model, tmp_path_factory.mktemp("heads")),)
    extensions = (CHECKOUT, *others)
    setup = Setup(webui_dir, parity_model, extensions, ui=False, settings=settings, environment=more, more=models)
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


def test_the_docs_tell_of_every_neighbour():
    table = (CHECKOUT / "docs" / "usage.md").read_text(encoding="utf-8").split("## Beside other extensions")[1]
    assert [name for name in NAMES.values() if name not in table] == []


@pytest.mark.row("Other extensions", "works", name="any of these, with nothing to do")
def test_neighbours_with_empty_hands_change_nothing(webui: WebUI, alone: dict[str, str]):
    assert alone == {"plain": plain(webui).sha1, "composed": compose(webui).sha1}


@pytest.mark.row("Other extensions", "masks only, with a note", name="ControlNet")
def test_beside_controlnet(real: WebUI, alone: dict[str, str]):
    """A unit that has stopped still marks the texts and calls the UNet by itself."""
    stopped = control(guidance_start=0.9)
    require_same(compose(real, stopped, silent=True), plain(real, stopped))
    assert compose(real, stopped).sha1 != alone["plain"]
    assert CALLED in notes(real)


@pytest.mark.row("Other extensions", "refused in a sentence", name="ControlNet's references")
def test_controlnets_reference_is_refused(real: WebUI, alone: dict[str, str]):
    assert "sd-webui-controlnet" in refused(real, control())


@pytest.mark.row("Other extensions", "works", name="LoRA Block Weight: lbw=")
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


@pytest.mark.row("Other extensions", "works", name="LoRA Block Weight: start=, stop=, step=")
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


@pytest.mark.row("Other extensions", "refused in a sentence", name="{name}, at work")
@pytest.mark.parametrize(
    ("name", "scripts", "prompt"),
    [
        ("NegPiP", NEGPIP, f"{PROMPT}, (sun:-1.0)"),
        ("Regional Prompter, Attention", regions("Attention"), "a cat BREAK a dog"),
        ("Regional Prompter, Latent", regions("Latent"), "a cat BREAK a dog"),
    ],
)
def test_refused_by_name(real: WebUI, alone: dict[str, str], name: str, scripts: dict[str, Any], prompt: str):
    before = plain(real, scripts, prompt=prompt).sha1
    repository = next(repository for repository, told in NAMES.items() if name.startswith(told))
    assert repository in refused(real, scripts, prompt=prompt)
    assert plain(real, scripts, prompt=prompt).sha1 == before


@pytest.mark.row("Other extensions", "works", name="NegPiP without a negative weight")
def test_negpip_without_a_negative_weight_is_not_there(real: WebUI, alone: dict[str, str]):
    assert compose(real, NEGPIP).sha1 == alone["composed"]


@pytest.mark.row("Other extensions", "refused in a sentence", name="Tiled Diffusion: {method}")
@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_tiles_are_refused(real: WebUI, alone: dict[str, str], method: str):
    size = {"width": 256, "height": 128}
    before = plain(real, tiles(method), **size).sha1
    assert "multidiffusion-upscaler-for-automatic1111" in refused(real, tiles(method), **size)
    assert plain(real, tiles(method), **size).sha1 == before != plain(real, **size).sha1


@pytest.mark.row("Other extensions", "refused in a sentence", name="LyCORIS, the loader for old WebUIs")
def test_tags_that_another_extension_reads_are_refused(real: WebUI, alone: dict[str, str]):
    sentence = refused(real, prompt=PROMPT + " <lyco:tinyA:1> <lora:tinyB:1>")
    assert "a1111-sd-webui-lycoris reads <lyco:tinyA>" in sentence
    assert "write <lora:tinyA:1>" in sentence


@pytest.mark.row("Other extensions", "works", name="Dynamic Prompts")
def test_drawn_words_are_bound(real: WebUI, alone: dict[str, str]):
    """Dynamic Prompts draws them when the job begins."""
    drawn = PROMPT.replace("cat", "{cat|cat}") + " <lora:tinyA:1> <lora:tinyB:1>"
    assert compose(real, prompt=drawn).sha1 == compose(real, prompt=drawn.replace("{cat|cat}", "cat")).sha1


@pytest.mark.row("Other extensions", "works", name="Prompt PostProcessor")
def test_a_processed_prompt_is_bound(real: WebUI, alone: dict[str, str]):
    """It sends words to the negative prompt, and takes what is not for this kind of model out."""
    loras = "<lora:tinyA:1> <lora:tinyB:1>"
    sent = "a cat <ppp:stn>blurry<ppp:/stn> and a dog<ppp:if _is_sdxl> in space<ppp:/if> " + loras
    found = compose(real, prompt=sent)
    assert found.sha1 == compose(real, prompt=f"{PROMPT} {loras}", negative_prompt="blurry").sha1
    assert found.info["prompt"] == f"{PROMPT} {loras}"


@pytest.mark.row("Other extensions", "does nothing, with CLoRA or without", name="Composable LoRA")
def test_composable_lora_does_nothing_in_this_webui(real: WebUI, alone: dict[str, str]):
    assert plain(real, COMPOSABLE).sha1 == alone["plain"]
    assert compose(real, COMPOSABLE).sha1 == alone["composed"]


@pytest.mark.row("Other extensions", "works", name="Self Attention Guidance")
def test_self_attention_guidance_goes_together(real: WebUI, alone: dict[str, str]):
    """Its own call of the model, after ours, is the host's: no row of ours is in it."""
    heads = with_model("tiny-sd1-heads")
    mark = real.log_mark()
    guided = plain(real, GUIDANCE, **heads)
    require_same(compose(real, GUIDANCE, silent=True, **heads), guided)
    others = [guided, plain(real, **heads), compose(real, **heads), compose(real, GUIDANCE, **heads)]
    assert len({each.sha1 for each in others}) == len(others)
    assert "Traceback" not in real.log(mark)


@pytest.mark.row("Other extensions", "works", name="{name}")
@pytest.mark.parametrize(
    ("name", "scripts"), [("Dynamic Thresholding", THRESHOLDING), ("CFG Rescale", RESCALE), ("FreeU", FREEU)]
)
def test_together(real: WebUI, alone: dict[str, str], name: str, scripts: dict[str, Any]):
    drawn = plain(real, scripts)
    assert drawn.sha1 != alone["plain"], "it does something"
    mark = real.log_mark()
    require_same(compose(real, scripts, silent=True), drawn)
    assert compose(real, scripts).sha1 not in (drawn.sha1, alone["composed"])
    assert "Traceback" not in real.log(mark)
