"""Other extensions that redraw a part of a finished picture, as ADetailer does with every face.

They begin a job in the midst of ours, with the whole prompt, so that every LoRA would be on that part. It is drawn with
the LoRA of the subject that has most of it. Such a job need not tell our script of itself: it is met where each job
activates its extra networks. The job around it is found where Python has it, on the stack, so that nothing of ours
stands in the host meanwhile.
"""

from collections.abc import Iterator
from inspect import currentframe
from types import FrameType
from typing import Any

import numpy as np
import torch
from modules import errors, extra_networks
from PIL import Image
from torch import Tensor

from clora_ext.core.masks import on_grid, owner
from clora_ext.engine.prepare import bind_prompts
from clora_ext.errors import CLoRAError, HostError
from clora_ext.hosts.webui.drive import neighbours
from clora_ext.hosts.webui.drive.catalogue import lora_facts
from clora_ext.hosts.webui.drive.host_rows import let_host_draw
from clora_ext.hosts.webui.drive.reading import added_by_host
from clora_ext.hosts.webui.drive.sampling_pass import first_pass
from clora_ext.hosts.webui.job import Job
from clora_ext.hosts.webui.options import option
from clora_ext.hosts.webui.page.last_job import Redrawn
from clora_ext.hosts.webui.page.pass_record import shown_passes
from clora_ext.prompt import Binding, BoundPrompt, Subject, find_tags, lora_key
from clora_ext.settings.infotext import infotext_key
from clora_ext.settings.request import KEY

SMALL = (16, 16)
"""Pictures are told apart at this size."""
APART, MOST_APART = 1 / 16, 0.25
"""How far, of 1, pixels of one picture are apart at most, but for this share of them."""
_JOB = "process_images_inner"
"""The host's function that a job runs in, with the job as ``p`` (modules/processing.py)."""


class PartsOfPictures(extra_networks.ExtraNetwork):
    """Is told by the host of every job, whatever scripts it has, when its LoRAs are loaded."""

    def __init__(self) -> None:
        super().__init__("clora")

    def activate(self, p: Any, params_list: list[Any]) -> None:
        """A job of anybody has loaded its LoRAs."""
        redraw(p)

    def deactivate(self, p: Any) -> None:
        """The host's next job loads its own LoRAs."""


def meet_parts() -> None:
    """Be told of every job from now on; called once per start and per reload of the page."""
    extra_networks.register_extra_network(PartsOfPictures())


def remember_pictures(job: Job, pictures: Tensor) -> None:
    """Know the batch [image, 3, height, width], from 0 to 1, that ``job`` has composed when it is redrawn."""
    job.pictures = [on_grid(picture, SMALL) for picture in pictures.float().cpu()] if job.passes else []
    job.p.extra_generation_params.pop(infotext_key("redrawn"), None)  # of the batch before


def is_part(p: Any) -> bool:
    """Whether ``p`` redraws a part of a picture that a job of ours has just composed."""
    return getattr(p, "image_mask", None) is not None and _job_around(p) is not None


def redraw(p: Any) -> None:
    """Draw with one subject's LoRA what ``p`` redraws of a composed picture; where that is in doubt, as the host does.

    Nothing happens to jobs that were not begun in the midst of one of ours, and to those whose prompt has the LoRAs of
    fewer than two subjects: whoever wrote it has chosen.
    """
    job = _job_around(p)
    if job is None:
        return
    carried: object = getattr(p, "clora", None)
    if carried is job:  # p is a copy of the job's own object
        job.step_aside(p)
    if hasattr(p, "clora") or not option("redraw"):
        return
    try:
        bound = _bound(p, job)
        if len(bound[0].subjects) < 2:
            return
        subject = _subject_there(p, job)
        let_host_draw(p, bound, _place(subject, bound[0]))
        _tell(p, job, subject.lora, f"with LoRA {subject.lora} alone, whose subject is there")
    except Exception as error:  # the host would log it and draw on without a word
        if not isinstance(error, CLoRAError):
            errors.report("CLoRA failed at a part of a picture", exc_info=True)
        why = error.message if isinstance(error, CLoRAError) else f"{type(error).__name__}; see the log."
        _tell(p, job, None, f"with all its LoRAs, as WebUI does: {why}")


def _frames() -> Iterator[FrameType]:
    frame = currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_around(frame: FrameType, p: Any) -> bool:
    """Whether a composed job of ours runs in ``frame``, and ``p`` is another one."""
    if frame.f_code.co_name != _JOB:
        return False
    outer = frame.f_locals.get("p")
    job = getattr(outer, "clora", None)
    return job is not None and outer is job.p and outer is not p and bool(job.pictures)


def _job_around(p: Any) -> Job | None:
    """The composed job of ours in whose midst ``p`` was begun."""
    around = next((frame for frame in _frames() if _is_around(frame, p)), None)
    found: Job | None = None if around is None else around.f_locals["p"].clora
    return found


def _begun_by(p: Any) -> str:
    """The extension that has begun ``p``: the first below the job around it."""
    found = "another extension"
    for frame in _frames():
        if _is_around(frame, p):
            break
        found = neighbours.extension_at(frame.f_code.co_filename) or found
    return found


def _bound(p: Any, job: Job) -> tuple[BoundPrompt, ...]:
    """The prompts of ``p``, bound as those of ``job``. Raises ``CLoRAError``.

    A binding of a LoRA that it does not name counts only where it has the job's own prompt in it.
    """
    prompts = first_pass(p).prompts
    bindings: list[Binding] = [*job.request.bindings, *added_by_host(prompts[0], job.request.bindings)]
    if not any(prompt in prompts[0] for prompt in job.passes[0].host.sampling.prompts):
        named = {lora_key(tag.name) for prompt in prompts for tag in find_tags(prompt)}
        bindings = [binding for binding in bindings if lora_key(binding.lora) in named]
    return bind_prompts(prompts, bindings, lora_facts)


def _place(subject: Subject, bound: BoundPrompt) -> int:
    """Which of the subjects of ``bound`` it is. Raises ``HostError`` where it is none of them."""
    place = bound.place_of(subject)
    if place is None:
        raise HostError(f"its prompt has no LoRA {subject.lora}, whose subject is there.")
    return place


def _subject_there(p: Any, job: Job) -> Subject:
    """The subject of ``job`` that has most of the part. Raises ``HostError`` where nobody can tell."""
    outer = job.p
    mask = getattr(p, "mask_for_overlay", None)
    if mask is None:
        raise HostError("it has no mask of the part.")
    part = _pixels(mask, "L")
    _require_same(job.pictures[outer.batch_index], _pixels(p.init_images[0], "RGB"), part)
    passes = shown_passes(each for each in job.record.passes if each.batch == outer.iteration)
    regions = [each.regions(outer.batch_index) for each in passes if each.report.region_masks]
    if not regions:
        raise HostError(f"the method {job.request.settings.method} has no masks.")
    place = owner(regions[0].float().cpu(), part[0])
    if place is None:
        raise HostError("no subject has most of that part.")
    return job.passes[0].prepared.bound[int(outer.batch_index)].subjects[place]


def _require_same(known: Tensor, picture: Tensor, part: Tensor) -> None:
    """Raise ``HostError`` where ``picture`` is not the ``known`` one, of which parts may have been redrawn already.

    Its ``part`` [1, height, width], which is about to be redrawn, is not ``known`` from then on.
    """
    apart = (known - on_grid(picture, SMALL)).abs().amax(dim=0) > APART
    if float(apart.float().mean()) > MOST_APART:
        raise HostError("it is of another picture than was composed.")
    known[:, on_grid(part, SMALL)[0] > 0] = torch.nan


def _pixels(picture: Image.Image, mode: str) -> Tensor:
    """A picture [channel, height, width] from 0 to 1."""
    values = np.asarray(picture.convert(mode)).astype(np.float32) / 255.0
    return torch.from_numpy(values).view(picture.height, picture.width, -1).movedim(-1, 0)


def _tell(p: Any, job: Job, lora: str | None, how: str) -> None:
    """Say in the answer, in the infotext and in the report what became of a part."""
    outer = job.p
    image = outer.iteration * outer.batch_size + outer.batch_index
    note = f"{_begun_by(p)} redrew a part of picture {image + 1} {how}"
    job.record.redrawn.append(Redrawn(image, lora, note))
    outer.comment(f"{KEY}: {note}")
    texts = outer.extra_generation_params.setdefault(infotext_key("redrawn"), [None] * len(outer.all_prompts))
    before = texts[outer.batch_index]
    texts[outer.batch_index] = ", ".join(filter(None, (before, lora or "all")))
