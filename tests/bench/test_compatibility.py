"""The page of what composes with what: of measured lines, and of what tests have shown."""

import json
from pathlib import Path

import pytest

from bench.compatibility.page import write_page
from tests.webui.rows import outcomes

EXACT = {
    "exact|tiny-sd1|Euler|Automatic": {"largest": 1},
    "exact|tiny-sdxl|DPM++ 2M|Karras": {"largest": 0},
}
SAMPLER = {"method": "clora", "of": 4, "plain": 4, "alone": [4, 3]}


def line(test: str, row: str, outcome: str) -> str:
    return json.dumps({"test": test, "table": "Prompts", "row": row, "outcome": outcome}) + "\n"


def test_of_each_test_the_last_run_counts_and_of_a_row_what_failed(tmp_path: Path):
    kept = tmp_path / "tests.jsonl"
    lines = [
        line("a::one", "styles", "**fails**"),
        line("b::two", "twice", "works"),
        line("b::three", "twice", "adds up"),
    ]
    kept.write_text("".join([*lines, line("a::one", "styles", "works")]), encoding="utf-8")
    assert outcomes(kept) == {"Prompts": {"styles": "works", "twice": "works; adds up"}}
    with kept.open("a", encoding="utf-8") as file:
        file.write(line("b::three", "twice", "**fails**"))
    assert outcomes(kept)["Prompts"]["twice"] == "**fails**"
    assert outcomes(tmp_path / "none.jsonl") == {}


@pytest.mark.parametrize(
    ("right", "outcome", "good"), [(4, "works", True), (4, "**fails**", False), (2, "works", False)]
)
def test_the_page_has_every_row_and_tells_whether_all_is_good(tmp_path: Path, right: int, outcome: str, good: bool):
    page = tmp_path / "page.md"
    judged = {"sampler|Euler": SAMPLER | {"right": {"fast": 4, "balanced": right}}}
    assert write_page(EXACT | judged, {"Prompts": {"styles": outcome}}, page) is good
    text = page.read_text(encoding="utf-8")
    assert f"| styles | {outcome} |" in text
    assert "| Euler | 1 |" in text
    assert f"| Euler | clora | 4 of 4 | {right} of 4 | 4 of 4 | 4 and 3 of 4 |" in text
    assert "Karras 0" in text


def test_what_is_not_exact_is_not_good_though_webui_alone_is_not(tmp_path: Path):
    off = {"exact|tiny-sdxl-v|Heun|Automatic": {"largest": 40, "alone": 50}}
    page = tmp_path / "page.md"
    assert not write_page(off, {}, page)
    assert "| Heun | 40 (50) |" in page.read_text(encoding="utf-8")
