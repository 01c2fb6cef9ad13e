"""``make bench-speed``: what composing costs, into out/bench/speed.json and a table beside it.

``HOLLOW=12`` behind it measures what steps ask of Python instead, in so many turns, into out/bench/hollow.json.
``DEVICE=cuda`` is one prepared run on a GPU, into out/bench/speed-gpu.json; ``DEVICE=cpu SIZE=tiny`` tries that run.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from bench.speed import card, clock, count, growth, hollow, overhead, page
from bench.speed.cases import COUNTS, LITTLE, RANK, STEPS, Case, Results, machine, order
from clora_ext.settings.knobs import Settings

OUT = Path("out/bench/speed.json")
ON_CPU, ON_CARD = 2400.0, 720.0
"""Seconds after which a run ends."""
TINY = "tiny"
TIMED = (2, 4)
"""Numbers of LoRAs that are timed on the CPU, on SD1.5 alone."""


def main() -> int:
    """Measure and write; gives the exit status."""
    options = _parser().parse_args()
    if options.hollow is not None:
        hollow.write(options.models.split(","), options.hollow)
        return 0
    if options.device == "cpu":
        torch.set_num_threads(1)  # as many as take the seconds, in a process of their own
    tiny = options.size == TINY
    if options.device == "cuda" or tiny:
        card.Card(options.device, options.time_limit or ON_CARD, options.card_out, tiny=tiny).run()
        print(options.card_out)
        return 0
    results = Results(options.out, machine(options.device))
    deadline = time.monotonic() + (options.time_limit or ON_CPU)
    models = tuple(options.models.split(","))
    for case in _on_cpu(results, models, options):
        print(page.line(case), flush=True)
        if time.monotonic() > deadline:
            print("The time is up; the rest was left out.", file=sys.stderr)
            break
    table = options.out.with_suffix(".md")
    table.write_text(page.table(results.data()) + "\n", encoding="utf-8")
    print(options.out, table)
    return 0


def _on_cpu(results: Results, models: tuple[str, ...], options: argparse.Namespace) -> Iterator[Case]:
    """Counts, and seconds, which take longest and so are taken in a process beside it, as they come."""
    chosen = list(order(models, *_chosen(options)))
    with closing(clock.Beside("sd15")) as beside:
        several = timed(chosen)
        asked = [(*one, beside.seconds(*one, RANK, STEPS)) for one in ((clock.PLAIN, 0), *several) if several]
        for model, wanted, concepts, rank in chosen:
            yield results.add(count.counted(model, wanted, concepts, rank, STEPS, options.size))
            yield from _taken(results, asked, wait=False)
        if "sd15" in models:
            results.setup, results.overhead, results.growth = overhead.setup(), overhead.overhead(), growth.growth()
            results.write()
        yield from _taken(results, asked, wait=True)


def _taken(results: Results, asked: list[tuple[Settings, int, Future[float]]], *, wait: bool) -> Iterator[Case]:
    """The cases whose seconds have come; ``wait``: all that were ``asked``, of which the first is the plain picture."""
    while len(asked) > 1 and (wait or asked[1][-1].done()):
        wanted, concepts, _ = asked[1]
        case = results.counted("sd15", wanted, concepts, RANK)
        if case is None:
            return
        plain, seconds = asked[0][-1].result(), asked.pop(1)[-1].result()
        yield results.put(case, replace(clock.timed(case, seconds, plain), device="cpu"))


def timed(chosen: Iterable[tuple[str, Settings, int, int]]) -> list[tuple[Settings, int]]:
    """Those of ``chosen`` that are timed on the CPU: `authors` and `paper`, which take longest, last."""
    every = [
        (wanted, concepts)
        for model, wanted, concepts, rank in chosen
        if (model, rank) == ("sd15", RANK) and concepts in TIMED and wanted.memory != LITTLE
    ]
    return sorted(every, key=lambda one: (one[0].profile in ("authors", "paper"), one[1]))


def _chosen(options: argparse.Namespace) -> tuple[tuple[str, ...], tuple[int, ...]]:
    rows = tuple(filter(None, options.rows.split(",")))
    return rows, tuple(map(int, options.counts.split(",")))


def _size(text: str) -> tuple[int, int] | str:
    if text == TINY:
        return text
    width, height = map(int, text.split("x"))
    return width, height


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    made.add_argument("--device", default="cpu", help="cpu, or cuda for the prepared run on a GPU, in half precision")
    made.add_argument("--models", default="sd15,sdxl,tiny")
    made.add_argument("--time-limit", type=float, help=f"seconds, {ON_CPU:.0f}, {ON_CARD:.0f} on a GPU; then it ends")
    made.add_argument("--rows", default="", help="only these profiles and methods, by commas")
    made.add_argument("--counts", default=",".join(map(str, COUNTS)), help="only these numbers of LoRAs")
    made.add_argument(
        "--size",
        type=_size,
        help=f"width x height in pixels of what is counted, the models' own if not said; {TINY} tries the run on a GPU",
    )
    made.add_argument(
        "--hollow", type=int, nargs="?", const=hollow.TURNS, help="only what steps ask of Python, in so many turns"
    )
    made.add_argument("--out", type=Path, default=OUT)
    made.add_argument("--card-out", type=Path, default=card.OUT, help="what the run on a GPU writes")
    return made


if __name__ == "__main__":
    sys.exit(main())
