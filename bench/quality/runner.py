"""Draws what is missing and keeps it; shared by the benchmark and the sweeps."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from bench.quality.jobs import Job, missing
from bench.quality.pool import pool
from bench.quality.store import Line, Store
from bench.quality.worker import Setup
from tiny_world.machine import cores
from tiny_world.worlds import FIRST, WORLDS

OUT = Path("out/bench")
"""Where the first world's results are written."""


def world_options(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options of every command that judges a tiny world."""
    made.add_argument("--world", choices=WORLDS, default=FIRST.name, help="which tiny world")
    made.add_argument("--weights", type=Path, help="another training of that world")
    return made


def options(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options of every command that draws; the variables of `make` are their defaults."""
    given = os.environ.get
    world_options(made)
    made.add_argument("--device", default=given("DEVICE") or "cpu")
    made.add_argument("--dtype", default=given("DTYPE") or "float32", choices=("float32", "float16", "bfloat16"))
    made.add_argument("--workers", type=int, default=int(given("WORKERS") or 0), help="processes; a core each if 0")
    made.add_argument("--batch", type=int, default=int(given("BATCH") or 0), help="seeds drawn at once")
    made.add_argument("--time-limit", type=float, default=float(given("TIME_LIMIT") or 0), help="seconds; 0 for none")
    made.add_argument("--report-only", action="store_true", help="draw nothing, report what is there")
    made.add_argument("--out", type=Path, default=given("OUT_DIR"), help="out/bench or out/bench-xl by default")
    return made


def out_of(chosen: argparse.Namespace) -> Path:
    """The folder for results: what was asked for, else the world's own."""
    return Path(chosen.out or WORLDS[chosen.world].beside(OUT))


class Runner:
    """Draws jobs into a store until its time is up; a context manager that ends its processes."""

    def __init__(self, setup: Setup, store: Store, chosen: argparse.Namespace) -> None:
        self.setup, self.store, self.world = setup, store, setup.world
        self.until = time.monotonic() + chosen.time_limit if chosen.time_limit else None
        self.batch = chosen.batch or (10 if setup.device.startswith("cuda") else 4)
        workers = chosen.workers or cores()
        self._pool = None if chosen.report_only else pool(setup, workers)

    def __enter__(self) -> "Runner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.close()

    def draw(self, jobs: Sequence[Job], title: str = "bench") -> bool:
        """Draw and keep what is not there yet, with a progress bar over pictures; whether all is there now."""
        todo = missing(jobs, self.store.lines, self.world, self.batch)
        if todo and self._pool is not None:
            with tqdm(total=sum(len(job.seeds) for job in jobs), unit="picture", desc=title, mininterval=1.0) as bar:
                bar.update(bar.total - sum(len(job.seeds) for job in todo))
                for lines in self._pool.run(todo, self.until):
                    self.store.add(lines)
                    bar.update(len(lines))
        return not missing(todo, self.store.lines, self.world, 1)

    def line(self, job: Job, seed: int) -> Line | None:
        """The line of one picture, if it is there."""
        return self.store.lines.get(job.key(seed, self.world))
