"""`python -m bench.merging`: merges, draws, judges and reports; `python tasks.py bench-merging`."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.merging.cases import MAIN, ROWS, SETS, Case, Counts
from bench.merging.merges import Merges
from bench.merging.summary import row
from bench.quality import folder, runner
from bench.quality.runner import Runner
from bench.quality.store import Store
from bench.quality.summary import commit
from bench.quality.worker import Setup

OUT = Path("out/bench-merging")
MERGED = "merged"
"""The folder of merged files in it."""
DTYPE = "bfloat16"
"""What pictures are drawn in, where nothing else is said."""
ENDING = "-b"
"""The second training of every LoRA: no setting was chosen by it."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are drawn with so many concepts and so many pictures."""

    concepts: int
    rows: tuple[str, ...]
    counts: Counts


PARTS = (
    Part(8, MAIN, Counts(50, 4, 2)),
    Part(8, tuple(name for name in ROWS if name not in MAIN), Counts(5, 2, 0)),
    *(Part(number, MAIN, Counts(10, 4, 2)) for number in SETS if number != 8),
)
"""What is drawn, in this order."""


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(prog="python -m bench.merging", description=__doc__)
    made.add_argument("--rows", default="", help="only these, by commas")
    made.add_argument("--concepts", default="", help="only these numbers of them, by commas")
    made.add_argument(
        "--pictures",
        type=int,
        nargs=3,
        default=(50, 50, 50),
        metavar=("ALONE", "PAIR", "CLORA"),
        help="at most so many of each concept alone, of each pair, and of each pair by CLoRA",
    )
    runner.options(made).set_defaults(out=OUT, dtype=DTYPE, batch=10)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when everything was drawn, 3 when time ran out before."""
    options = parser().parse_args(arguments)
    subject = folder.tiny_world()
    merges = Merges(options.out / MERGED, subject)
    cases = [(part, Case(name, SETS[part.concepts], ENDING)) for part in chosen(options) for name in part.rows]
    store = Store(options.out / "pictures.jsonl")
    found: dict[str, Any] = {"commit": commit(), "dtype": options.dtype, "torch": torch.__version__, "concepts": {}}
    complete, whole = True, chosen(options) == list(PARTS)
    for part, case in cases:
        if not options.report_only:
            merges.make(case)
        setup = Setup(replace(subject, loras=(*subject.loras, merges.out)), options.device, options.dtype)
        jobs = case.jobs(part.counts)
        with Runner(setup, store, options) as running:
            complete &= running.draw(jobs, case.file)
        if told := row(jobs, store.lines, setup.world):
            found["concepts"].setdefault(str(part.concepts), {})[case.row] = told | merges.cost(case)
        write(options.out / "loraclr.json", found | {"complete": complete and whole})
    return 0 if complete else 3


def chosen(options: argparse.Namespace) -> list[Part]:
    """The parts that were asked for."""
    numbers = {int(word) for word in options.concepts.split(",") if word} or set(SETS)
    rows = {word for word in options.rows.split(",") if word} or set(ROWS)
    return [
        replace(
            part,
            rows=tuple(name for name in part.rows if name in rows),
            counts=part.counts.at_most(Counts(*options.pictures)),
        )
        for part in PARTS
        if part.concepts in numbers
    ]


def write(path: Path, found: dict[str, Any]) -> None:
    """Keep what was found so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
