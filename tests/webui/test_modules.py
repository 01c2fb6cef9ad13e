"""Every kind of LoRA module that WebUI's built-in extension knows, on chosen rows, against that extension's own merge.

The comparison runs in WebUI's Python, without a model: see data/module_types.py.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.webui.conftest import CHECKOUT, HERE
from tests.webui.server import DROPPED_VARIABLES, ENVIRONMENT, find_python

TOLERANCE = 1e-4
"""float32: our rows compute y + delta(x), the merge computes (W + dW) x."""

SECONDS = 900.0
"""How long WebUI's modules may take to load; 13 s on an idle machine."""


@pytest.fixture(scope="module")
def lines(webui_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What the comparison printed: a line per kind, and one with the kinds that the extension knows."""
    python = find_python(webui_dir)
    script, scratch = HERE / "data" / "module_types.py", tmp_path_factory.mktemp("data-dir")
    environment = {name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}
    done = subprocess.run(
        [str(python), str(script), str(webui_dir), str(CHECKOUT), str(scratch)],
        cwd=webui_dir,
        env={**environment, **ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


KINDS = (
    *("lora", "lora-without-alpha", "lora-peft-names", "lora-dyn", "lora-bias"),
    *("lora-linear-on-conv-1x1", "lora-conv-1x1", "lora-conv-3x3", "lora-conv-3x3-stride", "lora-conv-3x3-tiling"),
    *("lora-conv-cp", "dora", "dora-conv", "loha", "loha-conv-cp", "lokr", "lokr-factors", "lokr-conv"),
    *("ia3-output", "ia3-input", "full", "full-bias", "full-conv-bias", "full-group-norm", "norm-group", "norm-layer"),
    *("glora", "oft-kohya", "oft-lycoris", "oft-conv"),
)
FACTORED = {name for name in KINDS if name.startswith("lora")} - {"lora-dyn", "lora-bias", "lora-conv-cp"}
"""The kinds that stay two small factors on our side; of all others the whole difference is kept."""


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_wear_it_are_the_merge_and_others_untouched(lines: list[dict], kind: str):
    (line,) = [line for line in lines if line.get("kind") == kind]
    assert line["module"] == line["expected"]
    assert line["change"] > 0.01, "a LoRA that changes nothing proves nothing"
    assert line["worn"] <= TOLERANCE
    assert line["others_equal"]
    assert line["restored"]
    assert line["hooks"] == 0
    assert line["delta"] == ("LowRank" if kind in FACTORED else "Full")


def test_no_kind_is_left_out(lines: list[dict]):
    known = {name.replace("ModuleType", "NetworkModule") for name in lines[-1]["known"]}
    assert known == {line["module"] for line in lines[:-1]}
    assert {line["kind"] for line in lines[:-1]} == set(KINDS)
