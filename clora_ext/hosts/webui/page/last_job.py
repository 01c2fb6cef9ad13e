"""What the last job did or why it was refused, as plain data for ``GET /clora/v1/last``."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from clora_ext import __version__
from clora_ext.engine.device import peak_bytes
from clora_ext.engine.report import JobReport
from clora_ext.errors import CLoRAError
from clora_ext.hosts.webui.page.overlays import as_png, grey_picture, peaked
from clora_ext.settings.knobs import plain_values
from clora_ext.settings.request import JobRequest


@dataclass
class JobRecord:
    """What is known of a job so far."""

    request: JobRequest | None = None
    """None when it could not be read, which ``error`` then explains."""
    reports: list[JobReport] = field(default_factory=list)
    loras: list[tuple[str, ...]] = field(default_factory=list)
    """Per report, the LoRAs of its subjects."""
    error: Exception | None = None
    began: float = field(default_factory=time.time)


class LastJob:
    """The report of the last job that was asked of us; empty before the first."""

    def __init__(self) -> None:
        self.report: dict[str, Any] = {}

    def tell(self, job: JobRecord, device: torch.device) -> None:
        """Keep what ``job`` has come to."""
        self.report = _summary(job, device)

    def masks(self) -> list[dict[str, Any]]:
        """The masks as grey PNGs: per image and subject its LoRA, words, and share of every pixel.

        ``attention`` is the PNG of what the mask was made from, white at the peak; None where masks are not from maps
        yet.
        """
        found: list[dict[str, Any]] = []
        image = 0
        for batch in self.report.get("batches", []):
            for number, regions in enumerate(batch["masks"]):
                maps = batch["maps"][number] if batch["maps"] else []
                found += _mask_pictures(batch, image, regions, maps)
                image += 1
        return found


def _summary(job: JobRecord, device: torch.device) -> dict[str, Any]:
    """Plain data of a job."""
    settings = None if job.request is None else job.request.settings
    batches = [report.as_dict() | {"loras": list(names)} for report, names in zip(job.reports, job.loras, strict=True)]
    return {
        "version": __version__,
        "profile": None if settings is None else settings.profile,
        "method": None if settings is None else settings.method,
        "settings": {} if settings is None else plain_values(settings),
        "composed": bool(job.reports) and job.error is None,
        "batches": batches,
        "unet_rows": sum(report.rows for report in job.reports),
        "seconds": sum(report.seconds for report in job.reports),
        "job_seconds": time.time() - job.began,
        "peak_memory_bytes": peak_bytes(device),
        "error": None if job.error is None else _error(job.error),
    }


def _error(error: Exception) -> dict[str, str | None]:
    """The sentence and the field that it is about."""
    if isinstance(error, CLoRAError):
        return {"message": error.message, "field": error.field}
    return {"message": f"{type(error).__name__}: {error}", "field": None}


def _mask_pictures(
    batch: dict[str, Any], image: int, regions: Sequence[Any], maps: Sequence[Any]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for subject, (lora, words) in enumerate(zip(batch["loras"], batch["subjects"], strict=True)):
        png = _png(torch.tensor(regions[subject + 1]))
        attention = _png(peaked(torch.tensor(maps[subject]))) if maps else None
        found.append({"image": image, "lora": lora, "words": words, "png": png, "attention": attention})
    return found


def _png(share: torch.Tensor) -> str:
    height, width = share.shape
    return as_png(grey_picture(share, (width, height)))
