"""What is kept of a picture and of a report."""

import hashlib
import json
from typing import Any

from PIL import Image

UNSTEADY = ("seconds", "remaining", "replayed", "job_seconds", "peak_memory_bytes", "settings", "version")
"""What differs from run to run, or names the knobs that there are."""


def picture_sha1(image: Image.Image) -> str:
    """Hexadecimal SHA-1 of an image's mode, size and pixels."""
    digest = hashlib.sha1(f"{image.mode} {image.size}".encode(), usedforsecurity=False)
    digest.update(image.tobytes())
    return digest.hexdigest()


def of_report(report: Any) -> Any:
    """A report without what is unsteady; masks and maps, which are long, as a digest."""
    if isinstance(report, list):
        return [of_report(part) for part in report]
    if not isinstance(report, dict):
        return report
    kept = {name: of_report(value) for name, value in report.items() if name not in UNSTEADY}
    for name in ("masks", "maps"):
        if name in kept:
            kept[name] = hashlib.sha1(json.dumps(kept[name]).encode(), usedforsecurity=False).hexdigest()
    return kept
