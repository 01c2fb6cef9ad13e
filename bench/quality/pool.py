"""Runs jobs: in this process, in several of them, or on a Ray cluster; stops cleanly when its time is up."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any, Protocol

from bench.parent import end_with_parent
from bench.quality.jobs import Job
from bench.quality.worker import Setup, Worker

Lines = list[dict[str, Any]]


class Pool(Protocol):
    """Something that turns jobs into lines, in any order."""

    def run(self, jobs: Sequence[Job], until: float | None) -> Iterator[Lines]:
        """No job is begun after ``until`` (of ``time.monotonic``); what is under way is finished."""
        ...

    def close(self) -> None:
        """End its processes; models stay loaded until then."""
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
        self._worker: Worker | None = None

    def run(self, jobs: Sequence[Job], until: float | None) -> Iterator[Lines]:
        """See ``Pool``."""
        for job in jobs:
            if late(until):
                return
            self._worker = self._worker or Worker(self.setup)
            yield self._worker.perform(job)

    def close(self) -> None:
        """See ``Pool``."""
        self._worker = None


class InProcesses:
    """Processes of this machine, each with its own model."""

    def __init__(self, setup: Setup, workers: int) -> None:
        self.workers = workers
        context = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(workers, context, _start, (setup,))  # starts none before the first job

    def run(self, jobs: Sequence[Job], until: float | None) -> Iterator[Lines]:
        """See ``Pool``."""
        waiting, running = iter(jobs), set()
        while True:
            while len(running) < self.workers + 2 and not late(until) and (job := next(waiting, None)) is not None:
                running.add(self._executor.submit(_perform, job))
            if late(until):
                running = {future for future in running if not future.cancel()}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)

    def close(self) -> None:
        """See ``Pool``."""
        self._executor.shutdown(cancel_futures=True)


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
        self.ray, self.setup = ray, setup
        if not ray.is_initialized():
            ray.init(address=address, num_cpus=workers if address == "local" else None, log_to_driver=False)
        on_gpu = setup.device.startswith("cuda")
        self._kind = ray.remote(num_cpus=1, num_gpus=1 if on_gpu else 0)(Worker)
        self._room = int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1))
        self._actors: list[Any] = []

    def run(self, jobs: Sequence[Job], until: float | None) -> Iterator[Lines]:
        """See ``Pool``."""
        while len(self._actors) < min(len(jobs), self._room):
            self._actors.append(self._kind.remote(self.setup))
        idle, waiting, running = list(self._actors), iter(jobs), {}
        while True:
            while idle and not late(until) and (job := next(waiting, None)) is not None:
                actor = idle.pop()
                running[actor.perform.remote(job)] = actor
            if not running:
                return
            done, _ = self.ray.wait(list(running), num_returns=1)
            idle.append(running.pop(done[0]))
            yield self.ray.get(done[0])

    def close(self) -> None:
        """See ``Pool``."""
        for actor in self._actors:
            self.ray.kill(actor)
        self.ray.shutdown()


def late(until: float | None) -> bool:
    """Whether the time is up."""
    return until is not None and time.monotonic() >= until


_worker: Worker | None = None


def _start(setup: Setup) -> None:
    global _worker  # noqa: PLW0603 - one per process, for the life of it
    end_with_parent()
    _worker = Worker(setup)


def _perform(job: Job) -> Lines:
    return _worker.perform(job)
