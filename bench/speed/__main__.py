"""``make bench-speed``: what composing costs, into out/bench/speed.json."""

import argparse
import platform
import sys
import time
from pathlib import Path

import torch

from bench.speed.cases import STEPS, Case, Results, order
from bench.speed.count import counted

OUT = Path("out/bench/speed.json")


def main() -> int:
    """Measure and write; gives the exit status."""
    options = _parser().parse_args()
    device = options.device
    results = Results(options.out, machine(device))
    deadline = time.monotonic() + options.time_limit
    for model, wanted, concepts, rank in order(tuple(options.models.split(","))):
        if time.monotonic() > deadline:
            print("The time is up; the rest was left out.", file=sys.stderr)
            break
        case = counted(model, wanted, concepts, rank, STEPS)
        results.add(case)
        print(line(case), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    made.add_argument("--device", default="cpu", help="cpu, or cuda for whole pictures in half precision")
    made.add_argument("--models", default="sd15,sdxl,tiny")
    made.add_argument("--time-limit", type=float, default=2400.0, help="seconds; what is left then is not measured")
    made.add_argument("--out", type=Path, default=OUT)
    return made


def machine(device: str) -> dict[str, str | int]:
    """Where the seconds were measured."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def line(case: Case) -> str:
    """A row of the table on the screen."""
    over = (case.peak_bytes - case.plain_peak_bytes) / 2**30
    return (
        f"{case.model:5} {case.profile:9} {case.method:10} K={case.k} rank {case.rank:3}"
        f"  {case.flops_ratio:6.2f} x FLOPs  {case.rows:5} rows  {over:+6.2f} GiB"
    )


if __name__ == "__main__":
    sys.exit(main())
