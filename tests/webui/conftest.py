"""Fixtures of the real-host suite. Booting is dear, so a server lives for the whole test session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.authors.rebuild import parity_folder
from tests.webui.server import Model, Setup, WebUI, find_python, find_webui

CHECKOUT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TEST_SECONDS = 1200
"""Limit of one test here, the boot of its server included."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.webui)
            if item.get_closest_marker("timeout") is None and item.config.pluginmanager.hasplugin("timeout"):
                item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="session")
def webui_dir() -> Path:
    """The WebUI checkout, or a skip that says what is missing."""
    folder = find_webui()
    if folder is None:
        pytest.skip("No WebUI here: set WEBUI_DIR to a checkout of AUTOMATIC1111 WebUI 1.10.1.")
    if find_python(folder) is None:
        pytest.skip(f"No Python for the WebUI in {folder}: make its venv, or set WEBUI_PYTHON.")
    return folder


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """The folder with the random checkpoint of the authors' reference outputs, made from its seeds."""
    return parity_folder()


@pytest.fixture(scope="session")
def parity_model(parity_dir: Path) -> Model:
    """Random SD1 checkpoint with two LoRAs, tinyA and tinyB: noise to the eye, exact to compare."""
    checkpoint = parity_dir / "checkpoint" / "tiny-sd1.safetensors"
    return Model(
        checkpoint=checkpoint,
        config=checkpoint.with_suffix(".yaml"),
        tokenizer=parity_dir / "tiny-clip",
        loras=tuple(sorted((parity_dir / "lora").glob("*.safetensors"))),
    )


@pytest.fixture(scope="session")
def webui(webui_dir: Path, parity_model: Model) -> Iterator[WebUI]:
    """A WebUI with this extension, with page and API."""
    with WebUI(Setup(webui=webui_dir, model=parity_model, extensions=(CHECKOUT,))) as host:
        yield host


@pytest.fixture(scope="session")
def webui_plain(webui_dir: Path, parity_model: Model) -> Iterator[WebUI]:
    """The same WebUI as somebody without this extension has it."""
    with WebUI(Setup(webui=webui_dir, model=parity_model)) as host:
        yield host
