"""A merge in WebUI's queue: how far it is, and how it ended. It knows no host."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import torch

from clora_ext.engine.device import peak_bytes
from clora_ext.errors import CLoRAError, let_go
from clora_ext.lora.kinds import OUT_OF_MEMORY
from clora_ext.merge.job import MergeJob, MergeReport
from clora_ext.merge.work import MergeCancelled

_log = logging.getLogger("clora")
TaskState = Literal["waiting", "merging", "done", "cancelled", "refused", "failed"]
_STAYS = "What is done stays, and the same merge goes on from there."


class MergeTask:
    """One merge that somebody has asked for, known by its ``id``."""

    def __init__(self, name: str, notes: Sequence[str] = (), room: str = "") -> None:
        self.id = secrets.token_hex(8)
        self.name, self.notes, self.room = name, list(notes), room
        self.state: TaskState = "waiting"
        self.done = self.total = 0
        """Units of work."""
        self.error: str | None = None
        self.report: MergeReport | None = None
        self.peak: int | None = None
        """Bytes that the process has held at most, or torch on its device."""
        self._began = self._ended = 0.0
        self._cancelled, self._over = threading.Event(), threading.Event()

    # -- while it runs -------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End it at its next unit of work; nothing but that is lost."""
        self._cancelled.set()

    def wait(self, seconds: float) -> bool:
        """Whether it is over, within that time."""
        return self._over.wait(seconds)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, however."""
        return self._over.is_set()

    def run(
        self,
        open_job: Callable[[], MergeJob],
        device: torch.device,
        tell: Callable[[], object],
        written: Callable[[], object],
    ) -> None:
        """Merge; ``tell`` is called after every unit of work, and ``written`` when the file is there.

        How it ends is its state, and no error comes out.
        """
        self._began = time.monotonic()
        try:
            self._require_wanted()
            self.state = "merging"
            self._merge(open_job(), tell)
            written()
            self._end("done")
        except MergeCancelled:
            self._end("cancelled")
        except CLoRAError as error:
            self._end("refused", error.message)
            let_go(error)
        except OUT_OF_MEMORY as error:
            self._end("failed", "Memory ran out: lower the memory for inputs, or merge fewer LoRAs.")
            let_go(error)
        except Exception as error:  # in a thread of its own nobody else would tell it
            _log.exception("CLoRA: the merge %s failed", self.name)
            self._end("failed", f"The merge failed ({type(error).__name__}: {error}); the log has more.")
            let_go(error)
        finally:
            self.peak = peak_bytes(device)

    def over(self) -> None:
        """Whoever waits for it goes on."""
        self._over.set()

    def _merge(self, job: MergeJob, tell: Callable[[], object]) -> None:
        self.total = job.work.total

        def told(_: str) -> None:
            self._require_wanted()
            self.done += 1
            tell()

        self.report = job.run(told)

    def _require_wanted(self) -> None:
        if self._cancelled.is_set():
            raise MergeCancelled

    def _end(self, state: TaskState, error: str | None = None) -> None:
        self.state, self.error, self._ended = state, error, time.monotonic()

    # -- what is told --------------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Since it began."""
        if not self._began:
            return 0.0
        return (self._ended or time.monotonic()) - self._began

    @property
    def seconds_left(self) -> float | None:
        """By what was done up to now; None where nothing was."""
        return self.seconds * (self.total - self.done) / self.done if self.done else None

    def status(self) -> dict[str, Any]:
        """For the route."""
        return {
            "id": self.id,
            "file": f"{self.name}.safetensors",
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "seconds": self.seconds,
            "seconds_left": self.seconds_left if self.state == "merging" else None,
            "notes": self.notes,
            "room": self.room,
            "error": self.error,
            "peak_bytes": self.peak,
            "report": None if self.report is None else _told(self.report),
        }

    @property
    def line(self) -> str:
        """How it stands, in a sentence."""
        match self.state:
            case "waiting":
                return f"{self.name} waits until what is drawn or merged before it is done."
            case "merging":
                left = self.seconds_left
                words = "" if left is None else f", about {told_seconds(left)} left"
                return f"Merging {self.name}: {self.done / max(self.total, 1):.0%}{words}."
            case "done":
                return f"✓ {self.name}.safetensors is in the folder of LoRAs: <lora:{self.name}:1>"
            case "cancelled":
                return f"{self.name} was cancelled. {_STAYS}"
            case _:
                return f"✗ {self.error}"

    @property
    def details(self) -> str:
        """What it came to, one thing on each line."""
        lines = [f"{note}." for note in self.notes]
        lines += [f"Merging {self.room}."] if self.room else []
        if self.report is not None:
            lines += [f"Triggers: {', '.join(self.report.triggers)}", *self.report.lines()]
        if self.is_over and self.peak is not None:
            lines.append(
                f"{told_seconds(self.seconds)}; {self.peak / 1e6:,.0f} MB of memory at most, the model's included"
            )
        return "\n".join(lines)


def told_seconds(seconds: float) -> str:
    """A time in words."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _told(report: MergeReport) -> dict[str, Any]:
    stages = {stage.value: asdict(each) for stage, each in report.stages.items()}
    joint = None if report.joint is None else asdict(report.joint)
    return {"triggers": report.triggers, "stages": stages, "joint": joint, "seconds": report.seconds}
