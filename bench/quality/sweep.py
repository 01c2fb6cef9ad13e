"""`python -m bench.quality.sweep`: which values are best; `make sweep`.

One factor at a time: every trial is screened on a few pictures against the best so far; who is not ahead after half
of them stops there. Of each factor the best trial, if it gained, is confirmed on the whole tuning split, in the order
of the gains, and adopted when the 80 % interval of its paired difference lies above zero. What was drawn is kept: the
same command goes on where time ran out.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.quality import folder, prompts, runner, stats
from bench.quality.factors import Factor, Trial, changed, of_row, padded
from bench.quality.jobs import Job, interleaved, seeds_of
from bench.quality.methods import TUNED, Method, save, table, tuned_of
from bench.quality.prompts import Prompt, PromptSet
from bench.quality.runner import Runner
from bench.quality.store import Store
from bench.quality.worker import Setup
from clora_ext.settings.profiles import PROFILES
from tiny_world.worlds import WORLDS

HALF = (15, 2)
SCREENED = (30, 2)
CONFIRMED = (10_000, 4)
"""Prompts and seeds of each: some 30 pictures, some 60, then the whole tuning split."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial against the best so far: differences of the share of right pictures, with their 80 % intervals."""

    factor: str
    trial: Trial
    screened: tuple[float, float, float]
    confirmed: tuple[float, float, float] | None = None
    adopted: bool = False


class OutOfTimeError(Exception):
    """Something is not drawn yet; the next run goes on."""


class Sweep:
    """The search for one row; ``best`` is the row with what was adopted."""

    def __init__(self, running: Runner, asked: PromptSet, row: Method) -> None:
        self.running, self.asked, self.best = running, asked, row
        self.tried: list[Tried] = []

    def once(self, factors: Sequence[Factor]) -> bool:
        """Try every factor; whether anything was adopted. Raises ``OutOfTimeError``."""
        gains = [Tried(f.name, t, (0.0, 0.0, 0.0)) for f in factors for t in f.trials if self._new(t)]
        gains = self._screened(gains, HALF, "half")
        ahead = self._screened([gain for gain in gains if gain.screened[0] > 0], SCREENED, "screen")
        gains = [next((a for a in ahead if (a.factor, a.trial) == (g.factor, g.trial)), g) for g in gains]
        self.tried += gains
        chosen = {gain.factor: gain for gain in sorted(gains, key=lambda gain: gain.screened[0])}.values()
        adopted = False
        for gain in sorted(chosen, key=lambda gain: -gain.screened[0]):
            if gain.screened[0] > 0:
                adopted |= self._confirm(gain)
        return adopted

    def _new(self, trial: Trial) -> bool:
        candidate = changed(self.best, trial)
        return (candidate.weight, candidate.settings) != (self.best.weight, self.best.settings)

    def _screened(self, trials: Sequence[Tried], pictures: tuple[int, int], title: str) -> list[Tried]:
        """The trials with their differences on ``pictures``."""
        rows = [self.best, *(changed(self.best, tried.trial) for tried in trials)]
        ours, *theirs = self._scores(rows, *pictures, title=title)
        return [replace(tried, screened=difference(found, ours)) for tried, found in zip(trials, theirs, strict=True)]

    def _confirm(self, gain: Tried) -> bool:
        candidate = changed(self.best, gain.trial)
        theirs, ours = self._scores([self.best, candidate], *CONFIRMED, title=gain.factor)
        found = difference(ours, theirs)
        self.tried[self.tried.index(gain)] = replace(gain, confirmed=found, adopted=found[1] > 0)
        if found[1] > 0:
            self.best = candidate
        return found[1] > 0

    def score(self) -> tuple[float, float, float]:
        """Share of right pictures of the best so far on the whole tuning split, with its 80 % interval."""
        (values,) = self._scores([self.best], *CONFIRMED, title="best")
        return (stats.mean(values), *stats.interval(values, level=0.8))

    def _scores(self, rows: Sequence[Method], count: int, seeds: int, title: str) -> list[stats.Values]:
        chosen = list(interleaved(self.asked.prompts))[:count]
        several = [[self._job(prompt, row, seeds) for prompt in chosen] for row in rows]
        if not self.running.draw([job for jobs in zip(*several, strict=True) for job in jobs], title):
            raise OutOfTimeError
        return [{job.prompt.id: {s: self._value(job, s) for s in job.seeds} for job in jobs} for jobs in several]

    def _job(self, prompt: Prompt, row: Method, seeds: int) -> Job:
        return Job(prompt, row, seeds_of(prompt, seeds), self.asked.sampling)

    def _value(self, job: Job, seed: int) -> float:
        return float(self.running.line(job, seed)["all"])


def difference(ours: stats.Values, theirs: stats.Values) -> tuple[float, float, float]:
    """Mean paired difference and its 80 % interval."""
    values = stats.paired(ours, theirs)
    return (stats.mean(values), *stats.interval(values, level=0.8))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when the search came to its end, 3 when time ran out before."""
    given = os.environ.get
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.sweep", description="Choose values by the benchmark."
    )
    parser.add_argument("--row", default=given("ROW") or "balanced", help="row of the table to tune")
    parser.add_argument("--trials", type=int, default=int(given("TRIALS") or 0), help="at most so many; 0 for all")
    parser.add_argument("--passes", type=int, default=int(given("PASSES") or 1), help="times through all factors")
    parser.add_argument("--factors", default=given("FACTORS", ""), help="only these, by commas (parts of names)")
    options = runner.options(parser).parse_args(arguments)
    world, options.out = WORLDS[options.world], runner.out_of(options)
    subject = folder.tiny_world(world, options.weights)
    asked = prompts.read(world.beside(prompts.TUNING))
    if subject.eye is None:
        asked = PromptSet(asked.name, asked.sampling, tuple(p for p in asked.prompts if p.style is None))
    with Runner(Setup(subject, options.device, options.dtype), Store(options.out / "sweep.jsonl"), options) as running:
        return run(running, asked, options, tuned_of(world))


def run(running: Runner, asked: PromptSet, options: argparse.Namespace, tuned: Sequence[Path] = (TUNED,)) -> int:
    """Search, then write sweep-<row>.json and .md, and the weight and a baseline's knobs into the last of ``tuned``."""
    row = table(*tuned)[options.row]
    parts = [part.strip() for part in options.factors.split(",") if part.strip()]
    factors = [f for f in of_row(row) if not parts or any(part in f.name for part in parts)]
    if options.trials and row.name not in PROFILES:
        factors = padded(factors, options.trials)
    search = Sweep(running, asked, row)
    found: dict[str, Any] = {"row": row.name, "trials": sum(len(f.trials) for f in factors), "complete": False}
    try:
        found["before"] = search.score()
        for _ in range(options.passes):
            if not search.once(factors):
                break
        found |= {"after": search.score(), "complete": True}
        save(row.name, search.best.weight, {} if row.name in PROFILES else search.best.knobs, tuned[-1])
    except OutOfTimeError:
        print("time ran out: run it again to go on", file=sys.stderr)
    found |= {"weight": search.best.weight, "knobs": dict(search.best.knobs)}
    found["tried"] = [
        {
            "factor": t.factor,
            "trial": dict(t.trial),
            "screened": t.screened,
            "confirmed": t.confirmed,
            "adopted": t.adopted,
        }
        for t in search.tried
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"sweep-{row.name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = markdown(found)
    (options.out / f"sweep-{row.name}.md").write_text(text, encoding="utf-8")
    print(text)
    return 0 if found["complete"] else 3


def markdown(found: Mapping[str, Any]) -> str:
    """The table for docs/ablation.md: differences in points, with 80 % intervals."""
    lines = [f"### `{found['row']}`", ""]
    for name in ("before", "after"):
        if name in found:
            share, low, high = found[name]
            lines.append(f"{name}: {share:.1%} right ({100 * low:.0f} to {100 * high:.0f})  ")
    lines += ["", "| factor | value | screened | confirmed | |", "|---|---|---|---|---|"]
    for tried in found["tried"]:
        value = ", ".join(f"{name} {word}" for name, word in tried["trial"].items())
        cells = [_points(tried[part]) for part in ("screened", "confirmed")]
        lines.append(f"| {tried['factor']} | {value} | {' | '.join(cells)} | {'adopted' if tried['adopted'] else ''} |")
    return "\n".join(lines) + "\n"


def _points(numbers: Sequence[float] | None) -> str:
    if numbers is None:
        return ""
    share, low, high = (100 * number for number in numbers)
    return f"{share:+.1f} ({low:+.0f} to {high:+.0f})"


if __name__ == "__main__":
    sys.exit(main())
