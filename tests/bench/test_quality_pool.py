"""Processes of the runner."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("diffusers", reason="the benchmark runs with the tools' Python")

PARENT = """
import multiprocessing, sys, time
from tests.bench.test_quality_pool import child
if __name__ == "__main__":
    started = multiprocessing.get_context("spawn").Process(target=child)
    started.start()
    print(started.pid, flush=True)
    time.sleep(120)
"""


def child() -> None:
    """What a worker does, without a model."""
    from bench.parent import end_with_parent

    end_with_parent()
    time.sleep(120)


def test_workers_end_when_the_command_is_killed(tmp_path):
    file = tmp_path / "parent.py"
    file.write_text(PARENT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        time.sleep(1)
        parent.kill()
    try:
        worker.wait(30)
    except psutil.TimeoutExpired:
        worker.kill()
        pytest.fail("the worker lives on")
