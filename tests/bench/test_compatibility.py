"""The page of what composes with what: of measured lines, and of what tests have shown."""

import json
from pathlib import Path

import pytest

from bench.compatibility.page import write_page
from tests.webui.rows import outcomes

EXACT = {"exact|tiny-sd1|Euler|Automatic": {"largest": 1}, "exact|tiny-sdxl|DPM++ 2M|Karras": {"largest": 0}}
SAMPLER = {"method": "clora", "right": 4, "of": 4, "plain": 4}


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
    judged = {"sampler|Euler": SAMPLER | {"right": right}}
    assert write_page(EXACT | judged, {"Prompts": {"styles": outcome}}, page) is good
    text = page.read_text(encoding="utf-8")
    assert f"| styles | {outcome} |" in text
    assert "| Euler | 1 |" in text
    assert "Karras 0" in text
