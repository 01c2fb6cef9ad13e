"""What the last job did or why it was refused, as plain data for ``GET /clora/v1/last``."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

import clora_ext
from clora_ext import __version__
from clora_ext.engine.device import peak_bytes
from clora_ext.errors import CLoRAError, SettingsError
from clora_ext.hosts.webui.page.overlays import as_png, grey_picture, peaked
from clora_ext.hosts.webui.page.pass_record import PassRecord, shown_passes
from clora_ext.prompt import Subject, lora_key
from clora_ext.redact import cause_lines
from clora_ext.settings.knobs import plain_values
from clora_ext.settings.request import JobRequest

EXTENSION = Path(clora_ext.__file__).parents[1]
"""The folder of this extension."""


@dataclass(frozen=True)
class Asked:
    """What a job was asked for."""

    request: JobRequest | None
    """None when it could not be read."""
    sampling: Mapping[str, Any]
    """The host's own settings of it, by name."""
    prompts: tuple[str, ...]
    """As typed, the negative one too."""


class Redrawn(NamedTuple):
    """A part of a picture that another extension has drawn again."""

    image: int
    """Of the job, from 0."""
    lora: str | None
    """The only one that is on it; None for all of them."""
    note: str


@dataclass
class JobRecord:
    """What is known of a job so far."""

    sampling: Mapping[str, Any] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()
    request: JobRequest | None = None
    """None when it could not be read, which ``error`` then explains."""
    passes: list[PassRecord] = field(default_factory=list)
    redrawn: list[Redrawn] = field(default_factory=list)
    error: Exception | None = None
    began: float = field(default_factory=time.time)


class LastJob:
    """The report of the last job that was asked of us; empty before the first."""

    def __init__(self) -> None:
        self.report: dict[str, Any] = {}
        self.passes: list[PassRecord] = []
        self.asked: Asked | None = None
        self.causes: tuple[str, ...] = ()
        """What went wrong, why and where, a line for each: an error itself would keep the job's tensors alive."""

    def tell(self, job: JobRecord, device: torch.device) -> None:
        """Keep what ``job`` has come to."""
        self.report = _summary(job, device)
        self.passes = shown_passes(job.passes)
        self.asked = Asked(job.request, job.sampling, job.prompts)
        self.causes = () if job.error is None else tuple(cause_lines(job.error, EXTENSION))

    def masks(self) -> list[dict[str, Any]]:
        """The masks as grey PNGs: per image and subject its LoRA, words with their place, and share of every pixel.

        ``attention`` is the PNG of what the mask was made from, white at the peak; None where masks are not from maps
        yet. ``own`` is somebody's own mask as it was given, with its ``mask_way``; None where there was none.
        """
        found: list[dict[str, Any]] = []
        image = 0
        for each in self.passes:
            for number in range(len(each.report.region_masks)):
                found += _mask_pictures(each, number, image)
                image += 1
        return found

    def mask_of(self, wanted: Mapping[str, Any]) -> dict[str, str]:
        """The mask of the LoRA ``mask_of`` as a data URL, and what the page's script tells of it.

        Of a LoRA of several subjects it is that of ``subject`` and its ``occurrence``. ``image`` is the number of the
        picture from 0, counted round. Raises ``SettingsError`` where there is none.
        """
        lora = wanted["mask_of"]
        own = [each for each in self.masks() if lora_key(each["lora"]) == lora_key(lora)]
        several = len(own) > len({each["image"] for each in own})
        said = wanted.get("subject"), wanted.get("occurrence")
        found = [each["png"] for each in own if not several or (each["words"], each["occurrence"]) == said]
        if not found:
            raise SettingsError(f"The last job has no mask of “{lora}”; draw a picture with it first.", field="masks")
        number = wanted.get("image", 0) % len(found)
        more = f", {number + 1} of {len(found)}; press again for the next" if len(found) > 1 else ""
        return {"mask": f"data:image/png;base64,{found[number]}", "told": f"The mask of the last picture{more}."}


def _summary(job: JobRecord, device: torch.device) -> dict[str, Any]:
    """Plain data of a job."""
    settings = None if job.request is None else job.request.settings
    return {
        "version": __version__,
        "profile": None if settings is None else settings.profile,
        "method": None if settings is None else settings.method,
        "settings": {} if settings is None else plain_values(settings),
        "composed": bool(job.passes) and job.error is None,
        "batches": [each.as_dict() for each in job.passes],
        "redrawn": [each._asdict() for each in job.redrawn],
        "unet_rows": sum(each.report.rows for each in job.passes),
        "seconds": sum(each.report.seconds for each in job.passes),
        "job_seconds": time.time() - job.began,
        "peak_memory_bytes": peak_bytes(device),
        "error": None if job.error is None else _error(job.error),
    }


def _error(error: Exception) -> dict[str, str | None]:
    """The sentence and the field that it is about."""
    if isinstance(error, CLoRAError):
        return {"message": error.message, "field": error.field}
    return {"message": f"{type(error).__name__}: {error}", "field": None}


def _mask_pictures(shown: PassRecord, number: int, image: int) -> list[dict[str, Any]]:
    """Those of one image: ``number`` in its batch, ``image`` in the job."""
    found: list[dict[str, Any]] = []
    regions, maps = shown.regions(number), shown.maps(number)
    for at, (subject, words) in enumerate(zip(shown.bound.subjects, shown.report.subjects, strict=True)):
        told = {"image": image, "lora": subject.lora, "words": words, "occurrence": subject.occurrence}
        png, attention = _png(regions[at + 1]), None if maps is None else _png(peaked(maps[at]))
        found.append({**told, "png": png, "attention": attention, "own": _own(subject)})
    return found


def _own(subject: Subject) -> dict[str, str] | None:
    return None if subject.mask is None else {"mask": subject.mask, "mask_way": subject.mask_way}


def _png(share: torch.Tensor) -> str:
    return as_png(grey_picture(share))
