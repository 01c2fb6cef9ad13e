"""What the docs say of the benchmarks is what the last full runs found."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.merging import markdown as merging
from bench.quality import markdown
from bench.quality.methods import COSTLY, table
from bench.speed import page

ROOT = Path(__file__).resolve().parents[2]
TOLD = (ROOT / "docs/quality.md").read_text(encoding="utf-8")
QUALITY, XL = (
    json.loads((ROOT / f"docs/bench/{name}.json").read_text(encoding="utf-8")) for name in ("quality", "quality-xl")
)


@pytest.mark.parametrize("found", [QUALITY, XL], ids=["first", "xl"])
def test_the_table_is_that_of_the_last_full_run(found: dict[str, Any]):
    assert found["complete"] is True
    assert markdown.table(found) in TOLD


def test_the_page_of_costs_is_made_from_what_was_kept(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert page.text(page.read()) == (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")


def test_every_row_was_drawn_on_every_split():
    """All pictures of all prompts; of the costly profiles those of two splits, as far as time reached."""
    assert set(QUALITY["methods"]) == set(table())
    assert set(QUALITY["base_rate"]) == set(markdown.TITLES)
    drawn = {split: cell["n"] for split, cell in QUALITY["methods"]["base"].items()}
    for name, splits in QUALITY["methods"].items():
        if name in COSTLY:
            assert set(splits) == {"two", "same_class"}
        else:
            assert {split: cell["n"] for split, cell in splits.items()}.items() <= drawn.items()


def test_the_ceiling_covers_every_split_of_the_table():
    ceiling = json.loads((ROOT / "docs/bench/ceiling.json").read_text(encoding="utf-8"))
    assert set(ceiling["splits"]) == set(markdown.TITLES)
    accepted = round(100 * ceiling["splits"]["style_on_one"])
    assert f"accepts [{accepted} % of perfect pictures]" in TOLD


def test_the_tables_of_merging_are_those_of_what_was_kept():
    told = (ROOT / "docs/merging.md").read_text(encoding="utf-8")
    merged, counted = (
        json.loads((ROOT / f"docs/bench/{name}.json").read_text(encoding="utf-8"))
        for name in ("loraclr", "merging-count")
    )
    for concepts in merged["concepts"]:
        assert merging.table(merged, int(concepts)) in told
    assert merging.counts(counted) in told
