"""What one pass of a job came to, for pictures and answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from clora_ext.engine.report import JobReport


@dataclass(frozen=True)
class PassRecord:
    """One run of the sampler: its batch, from 0, whether that of hires. fix, its subjects' LoRAs, and what to know."""

    batch: int
    hires: bool
    report: JobReport
    loras: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        told = {"batch": self.batch, "pass": "hires" if self.hires else "first", "loras": list(self.loras)}
        told["notes"] = list(self.notes)
        return self.report.as_dict() | told


def shown_passes(passes: Iterable[PassRecord]) -> list[PassRecord]:
    """One pass for each batch: the last that read its masks from maps, else the first."""
    found: dict[int, PassRecord] = {}
    for each in passes:
        if each.report.maps or each.batch not in found:
            found[each.batch] = each
    return list(found.values())
