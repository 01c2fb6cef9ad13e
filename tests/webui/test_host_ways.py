"""Ways in which WebUI computes attention and stores a model: what is composed is the same under each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.webui.conftest import CHECKOUT, OVERRIDDEN
from tests.webui.exact import require_same
from tests.webui.jobs import BINDINGS, SILENT, SMALL, difference, draw, fields, last, steps
from tests.webui.server import Model, Result, Setup, WebUI

ATTENTION = (
    "sdp - scaled dot product",
    "sub-quadratic",
    "V1 - original v1",
    "InvokeAI",
    "Doggettx",
    "None",
)
CLOSE = 1.0
"""Mean difference, of 255, of pictures that differ in how attention is summed, of a random model."""


def silent(host: WebUI, **payload: object) -> Result:
    """Two LoRAs of weight 0, inside masks of attention."""
    return draw(host, **{**SMALL, **fields(bindings=list(SILENT), method="masks"), **payload})


def composed(host: WebUI) -> Result:
    """Two LoRAs with updates of the latent."""
    return draw(host, **SMALL, **fields(bindings=list(BINDINGS)))


def options(host: WebUI, **values: object) -> None:
    """Change WebUI's settings, as its settings page does."""
    host.post("/sdapi/v1/options", values).raise_for_status()


@pytest.fixture(scope="module")
def own(webui_dir: Path, parity_model: Model) -> Iterator[WebUI]:
    """A WebUI for these tests alone, which change how it stores its model."""
    with WebUI(Setup(webui_dir, parity_model, (CHECKOUT,), ui=False, settings=OVERRIDDEN)) as found:
        yield found


@pytest.fixture
def host(own: WebUI) -> Iterator[WebUI]:
    """Has its own settings again afterwards."""
    yield own
    options(own, cross_attention_optimization="Automatic", fp8_storage="Disable")


@pytest.mark.row("Attention and memory", "works", name="cross attention optimization: {way}")
@pytest.mark.parametrize("way", ATTENTION)
def test_attention_may_be_computed_in_any_way(host: WebUI, way: str):
    before, mark = composed(host).images[0], host.log_mark()
    options(host, cross_attention_optimization=way)
    name = way.split(" - ", maxsplit=1)[0]
    assert way == "None" or f"Applying attention optimization: {name}..." in host.log(mark)
    require_same(silent(host), draw(host, **SMALL))
    found = composed(host).images[0]
    assert sum(step["gradient_rows"] for step in steps(host)) > 0
    assert difference(found, before)[1] <= CLOSE, difference(found, before)
    assert difference(found, draw(host, **SMALL).images[0])[1] > 10 * CLOSE


@pytest.mark.row("Attention and memory", "works", name="FP8 weight")
def test_weights_may_be_stored_in_eight_bits(host: WebUI):
    options(host, fp8_storage="Enable")
    plain = draw(host, **SMALL)
    require_same(silent(host), plain)
    found = composed(host)
    assert "FP8 weight: Enable" in found.infotexts[0]
    assert difference(found.images[0], plain.images[0])[1] > 10 * CLOSE
    assert sum(step["gradient_rows"] for step in steps(host)) > 0


def row(flag: str, outcome: str) -> Any:
    """A flag with its row."""
    return pytest.param(flag, marks=pytest.mark.row("Attention and memory", outcome, name="{flag}"))


NO_GPU = "works without a GPU, where WebUI takes another way; with one: not run here"
"""xformers has no kernels for a CPU, and WebUI does not offer it there."""
FLAGS = (
    row("--medvram", "works"),
    row("--lowvram", "masks only, with a note"),
    row("--upcast-sampling", "works"),
    row("--xformers", NO_GPU),
)


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_for_little_memory(webui: WebUI, webui_dir: Path, parity_model: Model, flag: str):
    setup = Setup(webui_dir, parity_model, (CHECKOUT,), ui=False, settings=OVERRIDDEN, flags=(flag,))
    with WebUI(setup) as host:
        require_same(silent(host), draw(host, **SMALL))
        found = composed(host).images[0]
        notes = " ".join(last(host)["batches"][0]["notes"])
        if flag == "--lowvram":
            assert "--lowvram" in notes
            assert "masks alone" in notes
        else:
            assert difference(found, composed(webui).images[0])[1] <= CLOSE
            assert notes == ""
