"""From judged pictures to ``loraclr.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.merging.cases import SINGLE, TWO, TWO_CLORA
from bench.quality import stats
from bench.quality.jobs import Job, World
from bench.quality.summary import collect, figures

Numbers = dict[str, dict[int, dict[str, float]]]
"""By prompt and seed."""
TOLD = {
    SINGLE: {"identity": "identity", "clip_t": "text", "classes": "classes"},
    TWO: {"all_present": "two_concepts"},
    TWO_CLORA: {"all_present": "two_concepts_clora"},
}
"""Of each kind of pictures, the quality bench's figures that are told, and what they are called."""
WITH_INTERVAL = {"identity": "ci", "two_concepts": "two_concepts_ci", "two_concepts_clora": "two_concepts_clora_ci"}


def row(jobs: Sequence[Job], lines: Mapping[str, Mapping[str, Any]], world: World) -> dict[str, Any]:
    """What was found of one row's pictures, as far as they are there; ``pictures`` of each kind."""
    found: dict[str, Any] = {}
    pictures: dict[str, int] = {}
    for split, numbers in by_split(jobs, lines, world).items():
        pictures[split] = sum(map(len, numbers.values()))
        for name, told in TOLD[split].items():
            values = {prompt: {seed: each[name] for seed, each in seeds.items()} for prompt, seeds in numbers.items()}
            found[told] = round(stats.mean(values), 4)
            if told in WITH_INTERVAL:
                found[WITH_INTERVAL[told]] = stats.rounded(stats.interval(values))
    return found | {"pictures": pictures} if pictures else {}


def by_split(jobs: Sequence[Job], lines: Mapping[str, Mapping[str, Any]], world: World) -> dict[str, Numbers]:
    """The numbers of every picture that is there, by the kind of picture."""
    prompts = {job.prompt.id: job.prompt for job in jobs}
    made: dict[str, Numbers] = {}
    for splits in collect(jobs, lines, world).values():
        for split, found in splits.items():
            made[split] = {
                name: {seed: told_of(line, figures(line, prompts[name], {})) for seed, line in seeds.items()}
                for name, seeds in found.items()
            }
    return made


def told_of(line: Mapping[str, Any], found: Mapping[str, float]) -> dict[str, float]:
    """The figures of a picture, and how near it is to its text."""
    return {**found, "clip_t": line.get("clip_t", 0.0)}
