"""What is to be drawn: one job is one prompt by one method with several seeds, drawn as one batch."""

import hashlib
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from bench.quality.methods import Method
from bench.quality.prompts import Prompt, Sampling
from clora_ext.prompt import find_tags
from clora_ext.settings.knobs import plain_values

LEAKS = frozenset({"two", "same_class"})
"""Splits on which leakage is measured: it doubles the work."""


@dataclass(frozen=True, slots=True)
class World:
    """Hashes of the files and the code that decide a picture: ``common`` to all, and each LoRA's by its name."""

    common: str
    loras: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """``seeds`` pictures of ``prompt`` by ``method``.

    ``leak``: draw each once more with one LoRA's weight at 0. ``keep``: these seeds' pictures are written down.
    """

    prompt: Prompt
    method: Method
    seeds: tuple[int, ...]
    sampling: Sampling
    leak: bool = False
    keep: tuple[int, ...] = ()

    @property
    def loras(self) -> tuple[str, ...]:
        """Names of the LoRAs that are worn: those of the prompt, none by the base model."""
        if self.method.draws == "base":
            return ()
        return tuple(dict.fromkeys(tag.name for tag in find_tags(self.prompt.prompt)))

    def key(self, seed: int, world: World) -> str:
        """Names one picture by everything that decides it and its verdict, of all LoRA files those that it wears."""
        wanted = self.method.settings
        parts = {
            "prompt": asdict(self.prompt) | {"id": "", "split": self.prompt.split},
            "draws": self.method.draws,
            "method": wanted.method,
            "knobs": plain_values(wanted),
            "profile": wanted.profile,
            "weight": self.method.weight,
            "sampling": asdict(self.sampling),
            "leak": self.leak,
            "kept": seed in self.keep,
            "seed": seed,
            "world": world.common,
            "loras": {name: world.loras.get(name) for name in self.loras},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def seeds_of(prompt: Prompt, count: int) -> tuple[int, ...]:
    """The same noise for every method; another for every prompt, so that seeds are independent pictures."""
    first = zlib.crc32(prompt.id.encode()) % 1_000_000 * 1000
    return tuple(range(first, first + count))


def plan(
    prompts: Sequence[Prompt],
    rows: Mapping[str, Method],
    count: int,
    sampling: Sampling,
    *,
    only: Mapping[str, Collection[str]] | None = None,
    leaking: int = 0,
    keep: int = 1,
) -> list[Job]:
    """All jobs, prompt by prompt so that a run cut short still compares like with like.

    ``only[row]`` are the splits of a row that is not drawn everywhere. ``leaking`` is how many prompts of each split
    of ``LEAKS`` have their leakage measured. ``keep`` is how many pictures of each prompt are written down.
    """
    jobs = []
    for prompt in interleaved(prompts):
        seeds = seeds_of(prompt, count)
        place = [other.id for other in prompts if other.split == prompt.split].index(prompt.id)
        leak = prompt.split in LEAKS and place < leaking
        jobs += [
            Job(prompt, method, seeds, sampling, leak and method.draws == "composed", seeds[:keep])
            for name, method in rows.items()
            if prompt.split in (only or {}).get(name, (prompt.split,))
        ]
    return jobs


def interleaved(prompts: Sequence[Prompt]) -> Iterator[Prompt]:
    """Prompts of all splits in turn, each split evenly spread."""
    sizes: dict[str, int] = {}
    for prompt in prompts:
        sizes[prompt.split] = sizes.get(prompt.split, 0) + 1
    places = dict.fromkeys(sizes, 0)
    ranked = []
    for order, prompt in enumerate(prompts):
        places[prompt.split] += 1
        ranked.append(((places[prompt.split] - 0.5) / sizes[prompt.split], order, prompt))
    return (prompt for _, _, prompt in sorted(ranked, key=lambda entry: entry[:2]))


def missing(jobs: Iterable[Job], done: Collection[str], world: World, batch: int) -> list[Job]:
    """The jobs with the seeds that are not done, at most ``batch`` of them in one."""
    left = []
    for job in jobs:
        seeds = [seed for seed in job.seeds if job.key(seed, world) not in done]
        left += [replace(job, seeds=tuple(seeds[at : at + batch])) for at in range(0, len(seeds), batch)]
    return left
