"""What steps cost on a GPU, in one prepared run: tests, single steps in turn with plain ones, waits, pictures.

A picture's steps are of few kinds, so steps are what is timed; whole pictures at the end say whether they add up. Every
row is written as soon as it is there: a run that is ended keeps what it has found.
"""

import gc
import json
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from bench.speed.cases import RANK, machine
from bench.speed.clock import PLAIN
from bench.speed.hollow import KINDS, ComposedStep, Stand, Step, composed_step, plain
from bench.speed.models import HOLLOW, MODELS, Shape, loras, unet
from bench.speed.stage import compose
from clora_ext.hosts.diffusers.replaying import EmbeddedGuard
from clora_ext.settings.profiles import build_settings

OUT = Path("out/bench/speed-gpu.json")
COUNTS = (2, 4)
"""Numbers of LoRAs."""
TURNS = 3
"""Runs in turn with plain ones."""
STEPS = 10
"""Of a run; as many come before, past the lock, and are not timed."""
PICTURE_STEPS = 50
TESTS_SHARE = 0.3
"""Of the time, at most, that tests take."""
PROFILES = ("fast", "balanced")
"""Of whole pictures."""
KINDS_TIMED = ("late routed", "fast update", "balanced update", "masks")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Load:
    """A model and pictures at once. Large batches are bound by the processor, as single pictures of small cards are."""

    model: str
    images: int = 1


LOADS = (Load("sd15"), Load("sdxl"), Load("sd15", 4), Load("sd15", 16), Load("sdxl", 4))
"""In the order of their importance."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of step, or a whole picture, against a plain one: seconds of single steps or pictures, by run."""

    model: str
    images: int
    k: int
    what: str
    replayed: bool
    seconds: tuple[float, ...]
    plain_seconds: tuple[float, ...]
    peak_bytes: int | None = None
    plain_peak_bytes: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """The median of the runs' ratios, each to the plain run right before it."""
        return median(ours / theirs for ours, theirs in zip(self.seconds, self.plain_seconds, strict=True))


@dataclass
class Found:
    """All that a run has found so far, written whenever there is more."""

    path: Path
    machine: Mapping[str, Any]
    tests: Mapping[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    waits: dict[str, dict[str, int]] = field(default_factory=dict)
    """By kind of step: the lines of ours and others that wait for the device, and how often."""
    complete: bool = False

    def write(self) -> None:
        """The file as it stands."""
        rows = [asdict(row) | {"ratio": round(row.ratio, 4)} for row in self.rows]
        data = {"machine": self.machine, "tests": self.tests, "rows": rows, "waits": self.waits}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(data | {"complete": self.complete}, indent=1) + "\n", encoding="utf-8")


class StageGuard(EmbeddedGuard):
    """That of the embedded host; the bench's own code is known too."""

    def stranger(self, function: Callable[..., Any]) -> str | None:
        """By package."""
        name = super().stranger(function)
        return None if name == "bench" else name


class Card:
    """One run on ``device``, at full size or, to try it, of few steps at a tiny one; it ends after ``seconds``."""

    def __init__(self, device: str, seconds: float, out: Path, *, tiny: bool = False) -> None:
        self.device, self.tiny, self.steps = device, tiny, 1 if tiny else STEPS
        self._ends, self._seconds = time.monotonic() + seconds, seconds
        self._cut = False
        """Whether anything was left out for want of time."""
        self.found = Found(out, described(device))

    def run(self, loads: Sequence[Load] = LOADS) -> None:
        """Everything, in the order of its importance. Batches of a tiny run are of two."""
        if self.tiny:
            loads = list(dict.fromkeys(replace(load, images=min(load.images, 2)) for load in loads))
        self.found.write()
        self.found.tests = self._tests()
        self._say(str(self.found.tests.get("summary", "")))
        for load in loads:
            if self._has_time(60.0):
                self._load(load)
        for load in [load for load in loads if load.images == 1]:
            for row in self._pictures(load):
                self._add(row)
        self.found.machine = {**self.found.machine, "after": clocks(self.device)}
        self.found.complete = not self._cut
        self.found.write()

    def _has_time(self, seconds: float) -> bool:
        """Whether so many are left, of which a tiny run needs few; where they are not, something is left out."""
        enough = self._ends - time.monotonic() > (0.0 if self.tiny else seconds)
        self._cut = self._cut or not enough
        return enough

    def _say(self, text: str) -> None:
        print(text, flush=True)

    def _add(self, row: Row) -> None:
        self.found.rows.append(row)
        self.found.write()
        self._say(line(asdict(row) | {"ratio": row.ratio}))

    def _tests(self) -> dict[str, Any]:
        """The tests of the GPU, in a process of their own."""
        words = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "tests/cuda"]
        began = time.monotonic()
        try:
            limit = self._seconds * TESTS_SHARE
            done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=limit, check=False)
        except subprocess.TimeoutExpired as late:
            told = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else ""
            return {"summary": f"not over within {limit:.0f} s", "output": told[-4000:]}
        summary = done.stdout.strip().rpartition("\n")[2]
        took = round(time.monotonic() - began, 1)
        return {"summary": summary, "status": done.returncode, "seconds": took, "output": done.stdout[-4000:]}

    # -- single steps -------------------------------------------------------------------------------------------------

    def _load(self, load: Load) -> None:
        """All rows of a load, the late steps first."""
        shape = self._shape(load.model)
        network = self._network(load.model)
        stand = Stand(shape, load.images, RANK if not self.tiny else 4)
        bare = plain(network, stand)
        took = 0.0
        for k in COUNTS:
            for kind in KINDS_TIMED:
                for replayed in (False, True) if KINDS[kind].locked else (False,):
                    if not self._has_time(1.5 * took):
                        return
                    began = time.monotonic()
                    self._add(self._row(network, load, stand, bare, k, kind, replayed=replayed))
                    took = time.monotonic() - began

    def _row(
        self, network: UNet2DConditionModel, load: Load, stand: Stand, bare: Step, k: int, kind: str, *, replayed: bool
    ) -> Row:
        stand = replace(stand, guard=StageGuard()) if replayed else stand
        plain_peak = self._peak(bare)
        with composed_step(network, load.model, KINDS[kind], k, stand) as step:
            self._many(step)
            peak = self._peak(step)
            runs = [(self._many(bare), self._many(step)) for _ in range(TURNS)]
            if not replayed and load.images == 1 and k == COUNTS[0]:
                self.found.waits[f"{load.model}, {kind}"] = waits(step, self.device)
            notes = _notes(step, replayed=replayed)
        theirs, ours = zip(*runs, strict=True)
        return Row(load.model, load.images, k, kind, replayed, ours, theirs, peak, plain_peak, notes)

    def _many(self, step: Step) -> float:
        """Seconds of one of ``steps``."""
        self._wait()
        since = time.perf_counter()
        for _ in range(self.steps):
            step()
        self._wait()
        return round((time.perf_counter() - since) / self.steps, 6)

    def _peak(self, step: Step) -> int | None:
        """Bytes that the allocator has held at most, weights included; None where nobody tells."""
        if self.device != "cuda":
            step()
            return None
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_reserved()

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    # -- whole pictures -----------------------------------------------------------------------------------------------

    def _pictures(self, load: Load) -> Iterator[Row]:
        """Two LoRAs by two profiles, called and replayed, each after a plain picture."""
        if not self._has_time(60.0):
            return
        network = self._network(load.model)
        for profile in PROFILES:
            for guard in (None, StageGuard()):
                if not self._has_time(30.0):
                    return
                seconds = [self._picture(network, load, made, guard) for made in (None, profile)]
                replayed, name = guard is not None, f"a picture by {profile}"
                yield Row(load.model, 1, 2, name, replayed, (seconds[1],), (seconds[0],))

    def _picture(
        self, network: UNet2DConditionModel, load: Load, profile: str | None, guard: StageGuard | None
    ) -> float:
        """Seconds of a picture; None for a plain one."""
        wanted = PLAIN if profile is None else build_settings(profile)
        deltas = loras(network, 0 if profile is None else 2, RANK if not self.tiny else 4)
        steps = PICTURE_STEPS if not self.tiny else 6
        self._wait()
        since = time.perf_counter()
        compose(network, self._shape(load.model).pixels, wanted, deltas, steps, guard=guard)
        self._wait()
        return round(time.perf_counter() - since, 4)

    def _shape(self, model: str) -> Shape:
        return (HOLLOW if self.tiny else MODELS)[model]

    def _network(self, model: str) -> UNet2DConditionModel:
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        dtype = torch.float16 if self.device == "cuda" else torch.float32
        return unet(self._shape(model).config, self.device, dtype)


def _notes(step: ComposedStep, *, replayed: bool) -> tuple[str, ...]:
    """What the steps have to tell, and whether the last was replayed where it was to be."""
    told = step.report.notes
    return (*told, "not replayed") if replayed and not step.report.steps[-1].replayed else told


def waits(step: Step, device: str) -> dict[str, int]:
    """The lines that wait for the device in one step, with how often; nothing on a CPU."""
    if device != "cuda":
        step()
        return {}
    with warnings.catch_warnings(record=True) as caught, _telling_waits():
        warnings.simplefilter("always")
        step()
    found = Counter(f"{_short(each.filename)}:{each.lineno}" for each in caught if "synchroniz" in str(each.message))
    return dict(found.most_common())


@contextmanager
def _telling_waits() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _short(file: str) -> str:
    """A file of ours from the project's folder, another's by its last two parts."""
    path = Path(file)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else "/".join(path.parts[-2:])


# -- what it is measured on -------------------------------------------------------------------------------------------


def described(device: str) -> dict[str, Any]:
    """Card, driver, versions and commit."""
    versions = {"python": sys.version.split()[0], "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    commit = _answer(["git", "rev-parse", "HEAD"])
    return {**machine(device), **versions, "commit": commit, "before": clocks(device)}


def clocks(device: str) -> str:
    """Driver, clocks, power and temperature, as NVIDIA's tool tells them; nothing on a CPU."""
    if device != "cuda":
        return ""
    asked = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu"
    return _answer(["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"])


def _answer(words: list[str]) -> str:
    """What a program prints; nothing where it is not there or fails."""
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=30, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# -- in words ---------------------------------------------------------------------------------------------------------


def line(row: Mapping[str, Any]) -> str:
    """One row on the screen."""
    how = "replayed" if row["replayed"] else "called"
    notes = f"  ({'; '.join(row['notes'])})" if row["notes"] else ""
    return (
        f"{row['model']:5} x {row['images']:2}  K={row['k']}  {row['what']:22} {how:8} "
        f"{1000 * median(row['seconds']):9.2f} ms  {row['ratio']:.2f} x plain{notes}"
    )


def table(data: Mapping[str, Any]) -> str:
    """What was measured as Markdown: rows, then waits."""
    head = "| model | pictures at once | LoRAs | step | | ms | plain ms | against plain | memory over plain | notes |"
    rows = [head, "|---" * 10 + "|"]
    for row in data["rows"]:
        how, notes = "replayed" if row["replayed"] else "called", "; ".join(row["notes"])
        ours, theirs = (1000 * median(row[name]) for name in ("seconds", "plain_seconds"))
        over = "" if row["peak_bytes"] is None else f"{(row['peak_bytes'] - row['plain_peak_bytes']) / 2**30:+.2f} GiB"
        rows.append(
            f"| {row['model']} | {row['images']} | {row['k']} | {row['what']} | {how} | {ours:.2f} | {theirs:.2f} "
            f"| {row['ratio']:.2f} x | {over} | {notes} |"
        )
    told = [f"- {kind}: {_listed(lines)}" for kind, lines in data["waits"].items() if lines]
    return "\n".join(rows) + ("\n\nWaits for the device in one step:\n\n" + "\n".join(told) if told else "")


def _listed(lines: Mapping[str, int]) -> str:
    return ", ".join(f"{where} ({count})" for where, count in lines.items())


def where(found: Mapping[str, Any]) -> str:
    """What it was measured on, in a sentence."""
    return (
        f"{found['device']}; driver and clocks: {found['before']}; torch {found['torch']}, CUDA {found['cuda']}, "
        f"cuDNN {found['cudnn']}, commit {found['commit'][:10]}."
    )
