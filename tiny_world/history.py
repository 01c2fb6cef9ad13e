"""What was trained, for how long and on what: kept beside the weights, so that the model card can always tell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = "training.json"
"""Beside the weights: a list of finished trainings, each an object with `stage`, `seconds`, `device` and its sizes."""

Entry = Mapping[str, Any]


def read(weights: Path) -> list[dict[str, Any]]:
    """The finished trainings of a folder of weights, oldest first; empty where nothing is told."""
    path = weights / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def of(entries: Sequence[Entry], stage: str) -> list[Entry]:
    """The entries of one stage, oldest first."""
    return [entry for entry in entries if entry["stage"] == stage]


def remember(
    work: Path,
    weights: Path,
    stage: str,
    function: Callable[[], Any],
    facts: Callable[[], Mapping[str, Any]] | None = None,
) -> None:
    """Runs a stage; when it ends well, its `facts` and seconds join the weights' history.

    A run that was stopped and started again from the same work folder is one training: its seconds add up in
    stages.json there. Stages without facts are timed only.
    """
    path = work / "stages.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"before": read(weights), "stages": {}}
    own = kept["stages"].setdefault(stage, {"stage": stage, "seconds": 0.0})
    start = time.monotonic()
    try:
        function()
        own |= facts() if facts else {}
    finally:
        own["seconds"] = round(own["seconds"] + time.monotonic() - start, 1)
        _write(path, kept)
    if facts:
        done = [entry for entry in kept["stages"].values() if len(entry) > 2]
        _write(weights / FILE, [*kept["before"], *done])


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
