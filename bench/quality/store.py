"""Results as JSON lines, one per picture, kept under a key of everything that decides it: a run can stop anywhere."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Store:
    """A file of lines by key; a line that was cut off by a crash is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, Line] = {}
        if path.is_file():
            for text in path.read_text(encoding="utf-8").splitlines():
                try:
                    line = json.loads(text)
                    self.lines[line["key"]] = line
                except (ValueError, KeyError, TypeError):
                    continue

    def add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Keep finished pictures, at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            if file.tell() and file.seek(-1, 2) and file.read(1) != b"\n":
                file.write(b"\n")
            for line in lines:
                self.lines[line["key"]] = dict(line)
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def __contains__(self, key: str) -> bool:
        return key in self.lines
