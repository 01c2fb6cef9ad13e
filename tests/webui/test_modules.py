"""Every kind of LoRA module that WebUI's built-in extension knows, on chosen rows, against that extension's own merge.

The comparison runs in WebUI's Python, without a model: see data/module_types.py.
"""

from pathlib import Path

import pytest

from tests.webui.own_python import lines_of

TOLERANCE = 1e-4
"""float32: our rows compute y + delta(x), the merge computes (W + dW) x."""


@pytest.fixture(scope="module")
def lines(webui_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What the comparison printed: a line per kind, and one with the kinds that the extension knows."""
    return lines_of(webui_dir, "module_types.py", tmp_path_factory.mktemp("data-dir"))


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
    assert line["delta"] == ("LowRank" if kind in FACTORED else "DenseDelta")


def test_no_kind_is_left_out(lines: list[dict]):
    known = {name.replace("ModuleType", "NetworkModule") for name in lines[-1]["known"]}
    assert known == {line["module"] for line in lines[:-1]}
    assert {line["kind"] for line in lines[:-1]} == set(KINDS)
