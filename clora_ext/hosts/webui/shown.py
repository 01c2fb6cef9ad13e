"""Pictures of masks and attention behind the job's own, in gallery and API's answer and, if wished, on the disk."""

from collections.abc import Sequence
from typing import Any

from modules import images, shared

from clora_ext.engine.report import JobReport
from clora_ext.hosts.webui.options import option
from clora_ext.hosts.webui.pictures import colour, sheet


def add_masks(p: Any, processed: Any, reports: Sequence[JobReport], names: Sequence[Sequence[str]]) -> None:
    """One sheet per image of ``processed``, with the image's own infotext; nothing for methods without masks."""
    first = processed.index_of_first_image
    at = first
    found: list[tuple[Any, str]] = []
    for report, loras in zip(reports, names, strict=True):
        titles = [f"{lora}: {words}" for lora, words in zip(loras, report.subjects, strict=True)]
        hues = [colour(index) for index in range(len(titles))]
        for weights, maps in zip(report.weights, report.maps or [()] * len(report.weights), strict=True):
            if at < len(processed.images):
                image = sheet(processed.images[at], weights, maps, titles, hues)
                found.append((image, processed.infotexts[at]))
                if option("save_masks") and p.save_samples():
                    _save(p, image, processed, at)
            at += 1
    for image, text in found:
        processed.images.append(image)
        processed.infotexts.append(text)


def _save(p: Any, image: Any, processed: Any, at: int) -> None:
    number = at - processed.index_of_first_image
    images.save_image(
        image, p.outpath_samples, "", processed.all_seeds[number], processed.all_prompts[number],
        shared.opts.samples_format, info=processed.infotexts[at], p=p, suffix="-masks",
    )  # fmt: skip
