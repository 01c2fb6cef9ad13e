"""Runs jobs: in this process, in several of them, or on a Ray cluster; stops cleanly when its time is up."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any, Protocol

from bench.quality.jobs import Job
from bench.quality.worker import Setup, Worker

Lines = list[dict[str, Any]]


class Pool(Protocol):
    """Something that turns jobs into lines, in any order."""

    def run(self, jobs: Sequence[Job], until: float | None) -> Iterator[Lines]:
        """No job is begun after ``until`` (of ``time.monotonic``); what is under way is finished."""
        ...


def pool(setup: Setup, workers: int, address: str | None = None) -> Pool:
    """Ray where ``RAY_ADDRESS`` is set (or ``address`` is ``local``), else ``workers`` processes of this machine."""
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        return OnRay(setup, workers, address)
    return InProcesses(setup, workers) if workers > 1 else InProcess(setup)


class InProcess:
    """One job after the other, here."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def run(self, jobs: Sequence[Job], until: float | None) -> Iterator[Lines]:
        """See ``Pool``."""
        worker = Worker(self.setup) if jobs else None
        for job in jobs:
            if late(until):
                return
            yield worker.perform(job)


class InProcesses:
    """Processes of this machine, each with its own model."""

    def __init__(self, setup: Setup, workers: int) -> None:
        self.setup, self.workers = setup, workers

    def run(self, jobs: Sequence[Job], until: float | None) -> Iterator[Lines]:
        """See ``Pool``."""
        context = multiprocessing.get_context("spawn")
        workers = min(self.workers, len(jobs)) or 1
        with ProcessPoolExecutor(workers, context, _start, (self.setup,)) as executor:
            waiting, running = iter(jobs), set()
            while True:
                while len(running) < workers + 2 and not late(until) and (job := next(waiting, None)) is not None:
                    running.add(executor.submit(_perform, job))
                if late(until):
                    running = {future for future in running if not future.cancel()}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)


class OnRay:
    """Actors on a Ray cluster, or on all of this machine with the address ``local``: one per GPU, else per core.

    Every machine needs this repository and the files to judge at the same paths.
    """

    def __init__(self, setup: Setup, workers: int, address: str) -> None:
        try:
            import ray
        except ImportError as error:
            msg = "RAY_ADDRESS is set, but Ray is not installed: pip install -r requirements/ray.txt"
            raise RuntimeError(msg) from error
        self.ray, self.setup, self.workers = ray, setup, workers
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, include_dashboard=False)

    def run(self, jobs: Sequence[Job], until: float | None) -> Iterator[Lines]:
        """See ``Pool``."""
        ray = self.ray
        there = ray.cluster_resources()
        on_gpu = self.setup.device.startswith("cuda")
        count = min(len(jobs), int(there.get("GPU" if on_gpu else "CPU", 1))) or 1
        kind = ray.remote(num_cpus=1, num_gpus=1 if on_gpu else 0)(Worker)
        idle = [kind.remote(self.setup) for _ in range(count)]
        waiting, running = iter(jobs), {}
        while True:
            while idle and not late(until) and (job := next(waiting, None)) is not None:
                actor = idle.pop()
                running[actor.perform.remote(job)] = actor
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1)
            idle.append(running.pop(done[0]))
            yield ray.get(done[0])


def late(until: float | None) -> bool:
    """Whether the time is up."""
    return until is not None and time.monotonic() >= until


_worker: Worker | None = None


def _start(setup: Setup) -> None:
    global _worker  # noqa: PLW0603 - one per process, for the life of it
    _worker = Worker(setup)


def _perform(job: Job) -> Lines:
    return _worker.perform(job)
