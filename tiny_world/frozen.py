"""LoRAs that are never trained again: the hashes of their files, kept beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

FILE = "frozen.json"
"""In a folder of weights: the SHA-256 of each frozen file by its path below the folder."""


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(weights: Path) -> dict[str, str]:
    """The hashes by path; empty where nothing is frozen."""
    path = weights / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def freeze(weights: Path, paths: Iterable[Path]) -> None:
    """Writes the hashes of files below a folder of weights. Raises ValueError if there are hashes already."""
    if read(weights):
        raise ValueError(f"{weights / FILE} freezes LoRAs already; they are not trained again for a figure's sake.")
    found = {path.relative_to(weights).as_posix(): digest(path) for path in paths}
    (weights / FILE).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def check(weights: Path) -> bool:
    """Whether there are frozen files. Raises ValueError for one that is missing or other than it was."""
    frozen = read(weights)
    for name, wanted in frozen.items():
        path = weights / name
        if not path.exists() or digest(path) != wanted:
            raise ValueError(f"{path} is frozen and not as it was: check it out from the repository.")
    return bool(frozen)
