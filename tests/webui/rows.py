"""Rows of docs/compatibility.md that tests of the real WebUI stand for.

A test with the mark ``row(table, outcome)`` is a row of that table, named by its first docstring line or by the mark's
``name``, in which ``{...}`` are the test's parameters. ``outcome`` is what it has shown when it passed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

KEPT = Path(__file__).resolve().parents[2] / "out" / "bench" / "compatibility" / "tests.jsonl"
"""A line for every run of such a test; of each test the last one counts."""
Outcomes = Mapping[str, Mapping[str, str]]
"""By table and row: what was shown, or why not."""


def record(item: pytest.Item, report: pytest.TestReport) -> None:
    """Keep what a test with the mark has come to."""
    told = report.when == "call" or not report.passed
    for mark in item.iter_markers("row") if told else ():
        table, outcome = mark.args
        line = {"test": item.nodeid, "table": table, "row": _name(item, mark.kwargs.get("name"))}
        line |= {"outcome": outcome if report.passed else _why(report)}
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _name(item: pytest.Item, template: str | None) -> str:
    call = getattr(item, "callspec", None)
    if template is not None:
        return template.format_map(call.params if call else {})
    return item.name.removeprefix("test_").partition("[")[0].replace("_", " ") + (f": {call.id}" if call else "")


def _why(report: pytest.TestReport) -> str:
    if not report.skipped:
        return "**fails**"
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return f"not run here: {reason.removeprefix('Skipped: ')}"


def outcomes(kept: Path = KEPT) -> Outcomes:
    """What every row has come to. A row of several tests is what those say that did not pass, or all of them."""
    lines = [json.loads(text) for text in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []
    last: dict[tuple[str, str], dict[str, Any]] = {(line["test"], line["table"]): line for line in lines}
    found: dict[str, dict[str, list[str]]] = {}
    for line in sorted(last.values(), key=lambda line: str(line["test"]).partition("::")[0]):
        found.setdefault(line["table"], {}).setdefault(line["row"], []).append(line["outcome"])
    return {table: {row: _joined(several) for row, several in rows.items()} for table, rows in found.items()}


def _joined(several: list[str]) -> str:
    bad = [outcome for outcome in several if outcome.startswith(("**", "not run"))]
    return "; ".join(dict.fromkeys(bad or several))
