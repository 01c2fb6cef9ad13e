"""What one pass of a job came to, for pictures and answers."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from clora_ext.core.window import Window
from clora_ext.engine.report import JobReport
from clora_ext.prompt import BoundPrompt, Subject, mask_digest


@dataclass(frozen=True)
class PassRecord:
    """One run of the sampler: its batch, from 0, whether that of hires. fix, who draws what, and what to know."""

    batch: int
    hires: bool
    report: JobReport
    prompts: tuple[str, ...]
    """Of every image, with tags."""
    bound: BoundPrompt
    """Of the first image; the others have the same LoRAs."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The LoRA that is meant by each name in prompts and bindings."""
    notes: tuple[str, ...] = ()
    window: Window | None = None
    """The part of the picture that was drawn; None for all of it."""

    @property
    def loras(self) -> tuple[str, ...]:
        """That of every subject."""
        return self.bound.loras

    def regions(self, number: int) -> Tensor:
        """The region masks [branch, height, width] of an image of the batch, over the whole picture."""
        found = self.report.region_masks[number]
        if self.window is None:
            return found
        whole = self.window.around(found)
        whole[0] = 1.0 - whole[1:].sum(dim=0)
        return whole

    def maps(self, number: int) -> Tensor | None:
        """The same of attention [subject, height, width], 0 outside of what was drawn; None before there are masks."""
        if not self.report.maps:
            return None
        found = self.report.maps[number]
        return found if self.window is None else self.window.around(found)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        told: dict[str, Any] = {
            "batch": self.batch,
            "pass": "hires" if self.hires else "first",
            "loras": list(self.loras),
        }
        told["notes"] = list(self.notes)
        told["own_masks"] = [_told(subject) for subject in self.bound.subjects]
        return self.report.as_dict() | told


def _told(subject: Subject) -> dict[str, str] | None:
    """The way of its own mask, and what tells the picture from others."""
    if subject.mask is None:
        return None
    return {"mask_way": subject.mask_way, "digest": mask_digest(subject.mask)}


def shown_passes(passes: Iterable[PassRecord]) -> list[PassRecord]:
    """One pass for each batch: the last that read its masks from maps, else the first."""
    found: dict[int, PassRecord] = {}
    for each in passes:
        if each.report.maps or each.batch not in found:
            found[each.batch] = each
    return list(found.values())


# -- in words ----------------------------------------------------------------------------------------------------------


def subject_titles(bound: BoundPrompt) -> list[str]:
    """The words of every subject; those of several have the number of their place in the prompt, as in “cat 2”."""
    times = Counter(subject.words.casefold() for subject in bound.subjects)
    return [
        f"{subject.words} {subject.occurrence}" if times[subject.words.casefold()] > 1 else subject.words
        for subject in bound.subjects
    ]


def style_titles(bound: BoundPrompt) -> list[str]:
    """Every style and what it is on."""
    subjects = subject_titles(bound)
    return [
        f"{style.lora}: {'everywhere' if style.on is None else 'on ' + subjects[style.on]}" for style in bound.styles
    ]
