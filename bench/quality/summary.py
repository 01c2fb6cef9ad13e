"""From lines to ``quality.json``: rates, intervals and paired differences per method and split."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.quality import stats
from bench.quality.detection import STATUSES, THERE
from bench.quality.jobs import Job, World
from bench.quality.methods import Method
from bench.quality.prompts import Prompt, PromptSet
from bench.quality.protocol import References, references, similarities, strength
from clora_ext.settings.profiles import PROFILES

Table = dict[str, dict[str, dict[str, dict[int, Mapping[str, Any]]]]]
"""Lines by method, split, prompt and seed."""
SCHEMA = 1
INTERVALS = {"all_present": "ci", "strength": "strength_ci"}
"""Numbers of a cell that have an interval, and what it is called."""


def collect(jobs: Sequence[Job], lines: Mapping[str, Mapping[str, Any]], world: World) -> Table:
    """The lines that the jobs asked for, as far as they are there."""
    table: Table = {}
    for job in jobs:
        for seed in job.seeds:
            line = lines.get(job.key(seed, world))
            if line is not None and not line.get("void"):
                row = table.setdefault(job.method.name, {}).setdefault(job.prompt.split, {})
                row.setdefault(job.prompt.id, {})[seed] = line
    return table


def figures(line: Mapping[str, Any], prompt: Prompt, known: References) -> dict[str, float]:
    """All numbers of one picture: shares of its subjects, similarities, leakage, mask IoU, cost."""
    found: dict[str, float] = {"unet_rows": line["rows"], "seconds": line["seconds"]}
    if "subjects" in line:
        statuses = [status for name, status in line["subjects"] if name not in _in_line_art(prompt)]
        found |= {"all_present": float(line["all"]), "strict": float(line["right"])}
        found |= {name: float(line[name]) for name in ("lenient", "classes")}
        if statuses:
            found["identity"] = sum(status in THERE for status in statuses) / len(statuses)
            found |= {name: statuses.count(status) / len(statuses) for name, status in STATUSES.items()}
        found["extra"] = float(bool(line["extra"]))
        if "style" in line:
            found["style"] = float(line["style"]["right"])
    if "leakage" in line:
        found["leakage"] = line["leakage"]
    plain = [lora for lora, name in prompt.subjects.items() if name not in _in_line_art(prompt)]
    if (near := strength(line, plain, known)) is not None:
        found["strength"] = near
    if line.get("iou"):
        found["mask_iou"] = sum(line["iou"].values()) / len(line["iou"])
    return found | similarities(line, tuple(prompt.subjects) or tuple(known), known)


def _in_line_art(prompt: Prompt) -> set[str]:
    """Subjects whose identity nobody can tell: three tones are left of their colours."""
    if prompt.style is None:
        return set()
    return set(prompt.wanted) if prompt.style.on is None else {prompt.subjects[prompt.style.on]}


def cell(numbers: Mapping[str, Mapping[int, Mapping[str, float]]], base_rate: float | None) -> dict[str, Any]:
    """One method on one split: means of everything; the interval of success; how many pictures."""
    names = sorted({name for seeds in numbers.values() for found in seeds.values() for name in found})
    made: dict[str, Any] = {}
    for name in names:
        values = _only(numbers, name)
        made[name] = round(stats.mean(values), 4)
        if name in INTERVALS:
            made[INTERVALS[name]] = stats.rounded(stats.interval(values))
    made["n"] = sum(len(seeds) for seeds in numbers.values())
    made["prompts"] = len(numbers)
    if base_rate and "all_present" in made:
        made["share_of_base"] = round(made["all_present"] / base_rate, 4)
    return made


def _only(numbers: Mapping[str, Mapping[int, Mapping[str, float]]], name: str) -> dict[str, dict[int, float]]:
    kept = {p: {s: found[name] for s, found in seeds.items() if name in found} for p, seeds in numbers.items()}
    return {prompt: seeds for prompt, seeds in kept.items() if seeds}


def summarise(prompts: PromptSet, table: Table, reference: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``base_rate``, ``methods`` and ``differences``: each profile against every other row, on the pictures of both."""
    known = references(reference)
    by_id = {prompt.id: prompt for prompt in prompts.prompts}
    numbers = {
        method: {
            split: {
                name: {seed: figures(line, by_id[name], known) for seed, line in seeds.items()}
                for name, seeds in found.items()
            }
            for split, found in splits.items()
        }
        for method, splits in table.items()
    }
    base = {split: round(stats.mean(_only(found, "classes")), 4) for split, found in numbers.get("base", {}).items()
            if _only(found, "classes")}  # fmt: skip
    methods = {
        method: {split: cell(found, base.get(split)) for split, found in splits.items()}
        for method, splits in numbers.items()
    }
    return {"base_rate": base, "methods": methods, "differences": _differences(numbers)}


def _differences(numbers: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    made: dict[str, dict[str, dict[str, Any]]] = {}
    for ours in (name for name in numbers if name in PROFILES):
        for other in (name for name in numbers if name not in (ours, "base")):
            for split in (split for split in numbers[ours] if split in numbers[other]):
                pair = (numbers[ours][split], numbers[other][split])
                if found := _difference(*pair, "all_present"):
                    near = _difference(*pair, "strength")
                    made.setdefault(split, {})[f"{ours} - {other}"] = found | ({"strength": near} if near else {})
    return made


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The paired difference of one number, on the pictures for which both have it; nothing without any."""
    values = stats.paired(_only(ours, name), _only(theirs, name))
    if not values:
        return {}
    return {
        "difference": round(stats.mean(values), 4),
        "ci": stats.rounded(stats.interval(values)),
        "n": sum(map(len, values.values())),
    }


def about(
    prompts: PromptSet, rows: Mapping[str, Method], hashes: Mapping[str, str], *, mode: str, seeds: int, device: str
) -> dict[str, Any]:
    """What has to be known to run it again."""
    return {
        "schema": SCHEMA,
        "commit": commit(),
        "mode": mode,
        "prompts": prompts.name,
        "seeds": seeds,
        "sampling": asdict(prompts.sampling),
        "rows": {
            name: {
                "draws": row.draws,
                "method": row.method,
                "profile": row.profile,
                "weight": row.weight,
                "knobs": dict(row.knobs),
            }
            for name, row in rows.items()
        },
        "hashes": dict(hashes),
        "device": device if device == "cpu" else torch.cuda.get_device_name(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def commit() -> str:
    """The commit that this runs from, with a plus sign where files differ from it; empty outside git."""
    try:
        number = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return number + ("+" if changed else "")


def _git(*words: str) -> str:
    line = ["git", "-C", str(Path(__file__).resolve().parent), *words]
    return subprocess.run(line, capture_output=True, encoding="utf-8", check=True).stdout.strip()
