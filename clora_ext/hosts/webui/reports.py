"""What the last job did or why it was refused, as plain data for ``GET /clora/v1/last``."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from modules import devices

from clora_ext import __version__
from clora_ext.engine.peak import peak_bytes
from clora_ext.engine.report import JobReport
from clora_ext.errors import CLoRAError
from clora_ext.hosts.webui.pictures import grey, peaked, png
from clora_ext.request import JobRequest


@dataclass
class Last:
    """The report of the last job that was asked of us; empty before the first."""

    report: dict[str, Any] = field(default_factory=dict)


last = Last()


def summary(
    request: JobRequest | None,
    reports: Sequence[JobReport],
    names: Sequence[Sequence[str]],
    began: float,
    error: Exception | None,
) -> dict[str, Any]:
    """Plain data of a job; ``request`` is None when it could not be read, which ``error`` then explains.

    ``names`` are, per report, the LoRAs of its subjects.
    """
    wanted = None if request is None else request.settings
    return {
        "version": __version__,
        "profile": wanted and wanted.profile,
        "method": wanted and wanted.method,
        "settings": {} if wanted is None else dict(wanted.values),
        "composed": bool(reports) and error is None,
        "batches": [report.as_dict() | {"loras": list(of)} for report, of in zip(reports, names, strict=True)],
        "unet_rows": sum(report.rows for report in reports),
        "seconds": sum(report.seconds for report in reports),
        "job_seconds": time.time() - began,
        "peak_memory_bytes": peak_bytes(devices.device),
        "error": None if error is None else _told(error),
    }


def _told(error: Exception) -> dict[str, str | None]:
    """The sentence and the field that it is about."""
    if isinstance(error, CLoRAError):
        return {"message": error.message, "field": error.field}
    return {"message": f"{type(error).__name__}: {error}", "field": None}


def masks_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The masks of a job's report as grey PNGs: per image and subject its LoRA, words, and share of every pixel.

    ``attention`` is the PNG of what the mask was made from, white at the peak; None where masks are not from maps yet.
    """
    found: list[dict[str, Any]] = []
    image = 0
    for batch in report.get("batches", []):
        for weights, maps in zip(batch["masks"], batch["maps"] or [[]] * len(batch["masks"]), strict=True):
            for subject, (lora, words) in enumerate(zip(batch["loras"], batch["subjects"], strict=True)):
                told = {"image": image, "lora": lora, "words": words, "png": _grey(torch.tensor(weights[subject + 1]))}
                seen = _grey(peaked(torch.tensor(maps[subject]))) if maps else None
                found.append(told | {"attention": seen})
            image += 1
    return found


def _grey(share: torch.Tensor) -> str:
    return png(grey(share, (share.shape[1], share.shape[0])))
