"""What one pass of a job came to, for pictures and answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from clora_ext.engine.report import JobReport
from clora_ext.prompt import mask_digest


@dataclass(frozen=True)
class PassRecord:
    """One run of the sampler: its batch, from 0, whether that of hires. fix, its subjects' LoRAs, and what to know."""

    batch: int
    hires: bool
    report: JobReport
    loras: tuple[str, ...]
    notes: tuple[str, ...] = ()
    own_masks: tuple[tuple[str, str] | None, ...] = ()
    """Of every subject the way and the picture, in base64, of somebody's own mask; None where there is none."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        told: dict[str, Any] = {
            "batch": self.batch,
            "pass": "hires" if self.hires else "first",
            "loras": list(self.loras),
        }
        told["notes"] = list(self.notes)
        told["own_masks"] = [_told(mask) for mask in self.own_masks]
        return self.report.as_dict() | told


def _told(mask: tuple[str, str] | None) -> dict[str, str] | None:
    """The way, and what tells the picture from others."""
    if mask is None:
        return None
    way, picture = mask
    return {"mask_way": way, "digest": mask_digest(picture)}


def shown_passes(passes: Iterable[PassRecord]) -> list[PassRecord]:
    """One pass for each batch: the last that read its masks from maps, else the first."""
    found: dict[int, PassRecord] = {}
    for each in passes:
        if each.report.maps or each.batch not in found:
            found[each.batch] = each
    return list(found.values())
