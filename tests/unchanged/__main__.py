"""``draw FILE`` and ``compare BEFORE AFTER``; see the package."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from tests.unchanged import embedded, webui
from tests.unchanged.jobs import jobs

HOSTS = {"embedded": embedded.drawn, "webui": webui.drawn}


def draw(file: Path, hosts: list[str], only: str) -> None:
    """Draw every job through the named hosts; what ``file`` has of other hosts stays."""
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    wanted = [job for job in jobs() if only in job.name]
    file.parent.mkdir(parents=True, exist_ok=True)
    for host in hosts:
        began = time.monotonic()
        found[host] = dict(tqdm(HOSTS[host](wanted), desc=host, unit="job"))
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{host}: {len(found[host])} records in {time.monotonic() - began:.0f} s")


def compare(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """A line for every value that is not the same."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            yield from compare(before.get(name), after.get(name), f"{place} / {name}" if place else name)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from compare(*pair, f"{place}[{number}]")
    elif before != after:
        yield f"{place}: {before!r} -> {after!r}"


def main() -> int:
    """Exit status: 1 where something changed."""
    parser = argparse.ArgumentParser(prog="python -m tests.unchanged", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw")
    drawing.add_argument("file", type=Path)
    drawing.add_argument("--host", action="append", choices=list(HOSTS), help="both by default")
    drawing.add_argument("--only", default="", help="jobs whose name has this text")
    comparing = commands.add_parser("compare")
    comparing.add_argument("files", type=Path, nargs=2)
    options = parser.parse_args()
    if options.command == "draw":
        draw(options.file, options.host or list(HOSTS), options.only)
        return 0
    before, after = (json.loads(file.read_text(encoding="utf-8")) for file in options.files)
    lines = list(compare(before, after))
    for line in lines:
        print(line)
    print(f"{sum(len(records) for records in before.values())} records, {len(lines)} values changed")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
