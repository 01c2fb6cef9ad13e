"""The cases, in the order of their importance, and the file that holds what was found."""

import json
import platform
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from clora_ext.engine.branches import composes
from clora_ext.prompt import BoundPrompt, Subject
from clora_ext.settings.knobs import Settings
from clora_ext.settings.profiles import METHODS, PROFILES, build_settings

MODELS = ("sd15", "sdxl", "tiny")
COUNTS = (2, 8, 4, 1)
"""Numbers of LoRAs."""
RANK, HIGH_RANK = 16, 128
STEPS = 50
LITTLE = 2.0
"""GiB beyond a plain picture that the low-memory form of `authors` and `paper` may take."""


@dataclass(frozen=True, slots=True)
class Case:
    """One picture's cost. A ratio is to a plain picture with the same LoRAs merged, in the same process.

    ``dtype`` is that of FLOPs and bytes; ``device`` where the seconds were taken, on the CPU in float32. ``size`` is a
    square's side in pixels, or width x height. ``memory``: the limit in GiB beyond a plain picture's peak; 0 for none.
    """

    model: str
    profile: str
    method: str
    k: int
    steps: int
    size: int | str
    rank: int
    device: str
    dtype: str
    flops_ratio: float | None = None
    rows: int | None = None
    seconds: float | None = None
    plain_seconds: float | None = None
    ratio: float | None = None
    peak_bytes: int | None = None
    plain_peak_bytes: int | None = None
    memory: float = 0.0
    images: int = 1
    """Pictures in a batch."""


@dataclass
class Results:
    """Everything that is measured, written after every case."""

    path: Path
    machine: dict[str, Any]
    cases: list[Case] = field(default_factory=list)
    growth: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    setup: dict[str, Any] = field(default_factory=dict)
    overhead: dict[str, Any] = field(default_factory=dict)

    def add(self, case: Case) -> Case:
        """Keep ``case`` and write the file."""
        self.cases.append(case)
        self.write()
        return case

    def counted(self, model: str, wanted: Settings, k: int, rank: int) -> Case | None:
        """The case that was counted for ``wanted``; None if none was."""
        key = (model, wanted.profile, wanted.method, k, rank, wanted.memory)
        return next((c for c in self.cases if (c.model, c.profile, c.method, c.k, c.rank, c.memory) == key), None)

    def put(self, before: Case, now: Case) -> Case:
        """Keep ``now`` in the place of ``before`` and write the file."""
        self.cases[self.cases.index(before)] = now
        self.write()
        return now

    def data(self) -> dict[str, Any]:
        """What the file holds."""
        return {
            "machine": self.machine,
            "cases": [asdict(case) for case in self.cases],
            "growth": self.growth,
            "setup": self.setup,
            "overhead": self.overhead,
        }

    def write(self) -> None:
        """Write the file as it stands."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.data(), indent=1) + "\n", encoding="utf-8")


def machine(device: str) -> dict[str, str | int]:
    """Where the seconds were measured."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def ways() -> Iterator[Settings]:
    """Every profile with its own method, those without a limit of their own once more with one, the other methods."""
    yield from (build_settings(profile) for profile in PROFILES)
    yield from (build_settings(name, memory=LITTLE) for name in PROFILES if not build_settings(name).memory)
    yield from (build_settings(method=method) for method in METHODS if method not in ("clora", "merge"))


def effective(wanted: Settings, concepts: int) -> Settings:
    """What is really run: one LoRA alone is the host's own picture, in most profiles."""
    subject = Subject("L1", 1.0, 1.0, None, "subject", None, 1)
    bound = BoundPrompt((subject,) * concepts, (), "", ("",) * concepts, ())
    return wanted if composes(bound, wanted) else build_settings(wanted.profile, "merge")


def order(
    models: tuple[str, ...] = MODELS, rows: Collection[str] = (), counts: Sequence[int] = COUNTS
) -> Iterator[tuple[str, Settings, int, int]]:
    """(model, settings, number of LoRAs, rank): the main figures of the first model come first.

    ``rows``: only these profiles and methods, without their low-memory forms; all if empty.
    """
    for model in models:
        for rank in (RANK, HIGH_RANK):
            for count in counts if rank == RANK else counts[:2]:
                for wanted in ways():
                    name = wanted.profile if wanted.method == "clora" else wanted.method
                    limited = wanted.method == "clora" and wanted != build_settings(wanted.profile)
                    chosen = not rows or (name in rows and not limited)
                    if chosen and (rank == RANK or wanted.method == "clora"):
                        yield model, wanted, count, rank
