"""`python -m tests.merge.killed --times 20`: a merge that is killed again and again, against one that is left alone.

LoRAs of the tiny world are merged by the command line. Each time the process is killed after a random share of what the
whole merge takes, and the next one goes on, or begins anew where the last was over before that; the file in the end has
to be the same, number by number.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
LORAS = ("tuxcat", "browndog")


def merging(arguments: Sequence[str], out: Path) -> subprocess.Popen[bytes]:
    """A process that merges into ``out`` on one thread."""
    command = [sys.executable, "-m", "clora_ext", "merge", *arguments, "--out", str(out)]
    quiet = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **quiet}, stderr=subprocess.DEVNULL)


def main() -> int:
    """Gives 0 where the numbers are the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--steps", default="4")
    parser.add_argument("--joint-steps", default="60")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    quick = ["--prompt", "a {}", "--held-prompt", "the {}", "--joint-steps", options.joint_steps]
    arguments = [*LORAS, "--steps", options.steps, *quick]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        merging(arguments, folder / "whole.safetensors").wait()
        whole = time.perf_counter() - began
        over = _killed(arguments, folder / "killed.safetensors", whole, options.times, chance)
        one, other = (load_file(folder / f"{each}.safetensors") for each in ("whole", "killed"))
    same = one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    told = f"killed {options.times} times, {over} merges were over before"
    print(f"{told}; the file is {'the same' if same else 'another'}")
    return 0 if same else 1


def _killed(arguments: Sequence[str], out: Path, seconds: float, times: int, chance: random.Random) -> int:
    """Kill a merge so many times; gives how often one was over before its time was."""
    killed = over = 0
    while killed < times:
        process = merging(arguments, out)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.random() * seconds)
        killed, over = (killed + 1, over) if process.poll() is None else (killed, over + 1)
        process.kill()
        process.wait()
        done = len(list(out.parent.glob(f"{out.name}.merging/*.merged")))
        kept = [path.stem for path in out.parent.glob(f"{out.name}.merging/*.kept")]
        print(f"{done} layers, {', '.join(sorted(kept)) or 'no lessons'}", flush=True)
        if out.exists():
            out.unlink()
    assert merging(arguments, out).wait() == 0
    return over


if __name__ == "__main__":
    sys.exit(main())
