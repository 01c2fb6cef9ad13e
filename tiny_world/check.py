"""`python -m tiny_world.check`: is the tiny world a ruler? Merging must fail on it and composing must work.

Three pairs of LoRAs, 24 consecutive seeds each: `merge` at its best of several weights must be right in at most a
quarter of the pictures, `clora` in at least 70 %; `masks` is reported.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from clora_ext.hosts.diffusers.checkpoint import load
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.settings.profiles import build_settings

from .judge import Judge, verdict
from .lora import trigger_phrase
from .machine import cores
from .model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS

PAIRS: tuple[tuple[str, str], ...] = (("tuxcat", "browndog"), ("tigercat", "hatbunny"), ("tuxcat", "spotdog"))
MERGE_WEIGHTS: tuple[float, ...] = (0.6, 0.8, 1.0, 1.2)
MOST_MERGED = 0.25
LEAST_COMPOSED = 0.70


@dataclass(frozen=True)
class Task:
    """Pictures to make in one go: a pair of concepts, a method, the LoRAs' weight and files' suffix, the seeds."""

    pair: tuple[str, str]
    method: str
    weight: float
    seeds: tuple[int, ...]
    suffix: str = ""
    steps: int = 20
    scale: float = 4.0


@dataclass(frozen=True)
class Outcome:
    """What the judge says of each of a task's pictures: exactly the two wanted; every class there; both in words."""

    task: Task
    right: tuple[bool, ...]
    lenient: tuple[bool, ...]
    subjects: tuple[str, ...]
    seconds: float


def prompt(pair: Sequence[str], weight: float, suffix: str = "") -> str:
    """`a <trigger> <class> <lora:...> and a ... in the grass`."""
    phrases = [f"a {trigger_phrase(name)} <lora:{name}{suffix}:{weight:g}>" for name in pair]
    return " and ".join(phrases) + " in the grass"


_LOADED: dict[str, Any] = {}


def perform(task: Task) -> Outcome:
    """Makes and judges the pictures of a task; keeps model, LoRAs and judge for the next task of this process."""
    if not _LOADED:
        torch.set_num_threads(1)
        _LOADED["model"] = load(CHECKPOINT, CONFIG, TOKENIZER)
        _LOADED["library"] = Library(WEIGHTS / "lora", WEIGHTS / "lora-b")
        _LOADED["judge"] = Judge.load()
    picture = Picture(
        prompt(task.pair, task.weight, task.suffix), seeds=task.seeds, steps=task.steps, cfg_scale=task.scale
    )
    made = generate(_LOADED["model"], _LOADED["library"], picture, build_settings("balanced", task.method))
    verdicts = [verdict(_LOADED["judge"].find(np.asarray(image)), task.pair) for image in made.images]
    return Outcome(
        task,
        tuple(v.right for v in verdicts),
        tuple(v.lenient for v in verdicts),
        tuple(", ".join(f"{name}: {status}" for name, status in v.subjects) for v in verdicts),
        made.seconds,
    )


def tasks(seeds: Sequence[int], weight: float, suffix: str, chunk: int = 6) -> list[Task]:
    """All tasks: `merge` at each of MERGE_WEIGHTS, `clora` and `masks` at one weight, in chunks of seeds."""
    methods = [("merge", w) for w in MERGE_WEIGHTS] + [("clora", weight), ("masks", weight)]
    return [
        Task(pair, method, w, tuple(seeds[start : start + chunk]), suffix)
        for method, w in methods
        for pair in PAIRS
        for start in range(0, len(seeds), chunk)
    ]


def shares(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Share of right pictures by `method weight` and pair, `all` for all pairs, `lenient` for every class there."""
    table: dict[str, dict[str, float]] = {}
    for label in dict.fromkeys(f"{o.task.method} {o.task.weight:g}" for o in outcomes):
        own = [o for o in outcomes if f"{o.task.method} {o.task.weight:g}" == label]
        row = {
            "+".join(pair): float(np.mean([r for o in own if o.task.pair == pair for r in o.right])) for pair in PAIRS
        }
        row["all"] = float(np.mean([r for o in own for r in o.right]))
        row["lenient"] = float(np.mean([r for o in own for r in o.lenient]))
        row["seconds a picture"] = sum(o.seconds for o in own) / sum(len(o.right) for o in own)
        table[label] = row
    return table


def passes(table: dict[str, dict[str, float]]) -> tuple[bool, str]:
    """Whether the best merge is bad enough and clora good enough, and a sentence that says so."""
    merged = max(row["all"] for label, row in table.items() if label.startswith("merge "))
    composed = max(row["all"] for label, row in table.items() if label.startswith("clora "))
    good = merged <= MOST_MERGED and composed >= LEAST_COMPOSED
    text = (
        f"merge at its best weight is right in {merged:.0%} (at most {MOST_MERGED:.0%} wanted), "
        f"clora in {composed:.0%} (at least {LEAST_COMPOSED:.0%} wanted)"
    )
    return good, ("holds: " if good else "does not hold: ") + text


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of `make check-world`; returns 0 if the world holds and 1 if not."""
    parser = argparse.ArgumentParser(description="Check that merging fails on the tiny world and composing works.")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=24, help="consecutive seeds per pair")
    parser.add_argument("--weight", type=float, default=1.0, help="of the LoRAs with clora and masks")
    parser.add_argument("--second-set", action="store_true", help="use the LoRAs of the second training")
    parser.add_argument("--out", type=Path, default=Path("out/check-world.json"))
    parser.add_argument("--workers", type=int, default=min(4, cores()))
    options = parser.parse_args(arguments)
    seeds = range(options.first_seed, options.first_seed + options.count)
    todo = tasks(seeds, options.weight, "-b" if options.second_set else "")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        outcomes = list(tqdm(pool.map(perform, todo), total=len(todo), desc="check"))
    table = shares(outcomes)
    columns = ["+".join(pair) for pair in PAIRS] + ["all", "lenient", "seconds a picture"]
    print("| method and weight | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for label, row in table.items():
        cells = [f"{row[c]:.2f}" if c == "seconds a picture" else f"{row[c]:.0%}" for c in columns]
        print(f"| {label} | " + " | ".join(cells) + " |")
    good, text = passes(table)
    print(text)
    report = {
        "holds": good,
        "shares": table,
        "seeds": list(seeds),
        "pictures": [
            {
                "pair": o.task.pair,
                "method": o.task.method,
                "weight": o.task.weight,
                "seed": s,
                "right": r,
                "subjects": w,
            }
            for o in outcomes
            for s, r, w in zip(o.task.seeds, o.right, o.subjects, strict=True)
        ],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
