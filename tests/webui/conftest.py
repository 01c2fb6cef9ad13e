"""Fixtures of the real-host suite. Booting is dear, so a server lives for the whole test session."""

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.golden.authors.rebuild import parity_folder
from tests.models.kinds import build_all
from tests.webui.parity import random_model
from tests.webui.rows import record
from tests.webui.server import Model, Setup, WebUI, find_python, find_webui
from tests.webui.world import tiny_world

CHECKOUT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PROBE = HERE / "data" / "probe_extension"

OVERRIDDEN = {
    "batch_cond_uncond": True,
    "pad_cond_uncond": False,
    "pad_cond_uncond_v0": False,
    "skip_early_cond": 0.0,
    "lora_functional": False,
    "CLIP_stop_at_last_layers": 1,
    "hypertile_enable_unet": False,
    "return_grid": True,
}
"""WebUI's defaults of the settings that jobs override; it restores only those that its config.json names."""

TEST_SECONDS = 1200
"""Limit of one test here, the boot of its server included."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.webui)
            if item.get_closest_marker("timeout") is None and item.config.pluginmanager.hasplugin("timeout"):
                item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    record(item, report)
    return report


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
def parity_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Random SD1 checkpoint with LoRAs: noise to the eye, exact to compare."""
    return random_model(tmp_path_factory.mktemp("loras"))


@pytest.fixture(scope="session")
def more_models(parity_model: Model) -> Iterator[tuple[Model, ...]]:
    """SDXL, SD2, v-prediction and inpainting, random like `parity_model`: noise to the eye, exact to compare."""
    with tempfile.TemporaryDirectory(prefix="models-") as folder:
        yield build_all(Path(folder), parity_model)


@pytest.fixture(scope="session")
def world(webui_dir: Path) -> Iterator[WebUI]:
    """A WebUI with page, this extension, the tiny world and the LoRAs of its first set."""
    with WebUI(Setup(webui=webui_dir, model=tiny_world(), extensions=(CHECKOUT,), settings=OVERRIDDEN)) as host:
        yield host


@pytest.fixture(scope="session")
def webui(webui_dir: Path, parity_model: Model) -> Iterator[WebUI]:
    """A WebUI with this extension, with page and API."""
    with WebUI(Setup(webui=webui_dir, model=parity_model, extensions=(CHECKOUT,), settings=OVERRIDDEN)) as host:
        yield host


@pytest.fixture(scope="session")
def webui_probed(webui_dir: Path, parity_model: Model) -> Iterator[WebUI]:
    """The API of a WebUI with this extension and a probe, which counts what is left behind and breaks jobs."""
    with WebUI(
        Setup(webui=webui_dir, model=parity_model, extensions=(CHECKOUT, PROBE), ui=False, settings=OVERRIDDEN)
    ) as host:
        yield host


@pytest.fixture(scope="session")
def webui_plain(webui_dir: Path, parity_model: Model) -> Iterator[WebUI]:
    """The same WebUI as somebody without this extension has it."""
    with WebUI(Setup(webui=webui_dir, model=parity_model, settings=OVERRIDDEN)) as host:
        yield host


@pytest.fixture(scope="session")
def webui_models(webui_dir: Path, parity_model: Model, more_models: tuple[Model, ...]) -> Iterator[WebUI]:
    """The API of a WebUI with this extension and every kind of model; a job chooses one by `jobs.with_model`."""
    setup = Setup(webui_dir, parity_model, (CHECKOUT,), ui=False, settings=OVERRIDDEN, more=more_models)
    with WebUI(setup) as host:
        yield host


@pytest.fixture(scope="session")
def webui_models_plain(webui_dir: Path, parity_model: Model, more_models: tuple[Model, ...]) -> Iterator[WebUI]:
    """The same without this extension; its log tells which keys of a LoRA fit no layer."""
    flags = ("--loglevel", "DEBUG")
    with WebUI(Setup(webui_dir, parity_model, ui=False, flags=flags, settings=OVERRIDDEN, more=more_models)) as host:
        yield host
