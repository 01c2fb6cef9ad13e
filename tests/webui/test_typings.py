"""The stubs of WebUI, gradio and fastapi in typings/ say what is so, as WebUI's own Python compares them."""

from pathlib import Path
from typing import Any

import pytest

from tests.stubs.reading import read
from tests.webui.conftest import CHECKOUT
from tests.webui.own_python import lines_of

NAMES = tuple(stub.name for stub in read(CHECKOUT / "typings") if not stub.of_tools)


@pytest.fixture(scope="module")
def found(webui_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What was found of every stub, by its name."""
    lines = lines_of(webui_dir, "compare_stubs.py", tmp_path_factory.mktemp("data-dir"))
    return {line["stub"]: line for line in lines}


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_says_what_is_so(found: dict[str, dict[str, Any]], name: str):
    assert found[name]["compared"] > 0
    assert found[name]["lies"] == []
