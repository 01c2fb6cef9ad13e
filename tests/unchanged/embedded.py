"""The jobs through the embedded host."""

from collections.abc import Iterable, Iterator
from typing import Any

from clora_ext.errors import CLoRAError
from clora_ext.hosts.diffusers.checkpoint import load
from clora_ext.hosts.diffusers.infotext import infotext
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.settings.request import read_request
from tests.unchanged.jobs import Job
from tests.unchanged.record import of_report, picture_sha1
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS


def drawn(jobs: Iterable[Job]) -> Iterator[tuple[str, Any]]:
    """Name and record of every job that this host can draw."""
    model, library = load(CHECKPOINT, CONFIG, TOKENIZER), Library(WEIGHTS / "lora")
    for job in jobs:
        if not job.host:
            try:
                yield job.name, _record(model, library, job)
            except CLoRAError as error:
                yield job.name, {"error": error.detail, "status": error.status_code}


def _record(model: Any, library: Library, job: Job) -> dict[str, Any]:
    asked = read_request(job.fields)
    picture = Picture(job.prompt, job.negative, job.seeds, job.steps, job.cfg_scale, job.width, job.height)
    result = generate(model, library, picture, asked.settings, asked.bindings)
    return {
        "pictures": [picture_sha1(image) for image in result.images],
        "infotexts": [infotext(picture, seed, "tiny-world", asked) for seed in job.seeds],
        "report": of_report(result.report.as_dict()),
    }
