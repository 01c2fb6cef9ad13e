"""One job through the host's script hooks: what is asked for, what is bound, and sampling with it.

The host swallows exceptions in script hooks and would go on without us, so an error is kept and raised where
sampling starts, before any UNet call.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from modules import errors, shared
from torch import Tensor

from clora_ext.engine.estimate import made_steps
from clora_ext.errors import CLoRAError, HostError
from clora_ext.hosts.webui.drive.host_rows import take_loras
from clora_ext.hosts.webui.drive.loaded_model import LoadedCheckpoint
from clora_ext.hosts.webui.drive.reading import told_in_tags
from clora_ext.hosts.webui.drive.sampling_pass import in_hires_pass
from clora_ext.hosts.webui.drive.source import WebUISource
from clora_ext.hosts.webui.job import LAST_JOB, Job, bound_passes
from clora_ext.hosts.webui.page.chosen import Sampling
from clora_ext.hosts.webui.page.cost import count_rows
from clora_ext.hosts.webui.page.fields import args_to_fields, is_off, request_of, settings_fields
from clora_ext.hosts.webui.page.finished import FINISHED, Finished
from clora_ext.hosts.webui.page.pace import PACE, Load
from clora_ext.hosts.webui.page.pass_record import shown_passes
from clora_ext.hosts.webui.page.show_masks import add_sheets
from clora_ext.hosts.webui.page.xyz import with_cell
from clora_ext.hosts.webui.redrawing import is_part, meet_parts, remember_pictures
from clora_ext.hosts.webui.sampling import composing_launch, sampling_with
from clora_ext.patching import Replacement, replaced
from clora_ext.settings.infotext import to_infotext
from clora_ext.settings.request import KEY
from clora_ext.settings.retired import retired_note

log = logging.getLogger("clora")
SOURCE = WebUISource()
"""What the page asks of the drive."""
__all__ = ["FINISHED", "LAST_JOB", "SOURCE", "activated", "attach", "drawn", "finished", "meet_parts", "process"]


def _job_of(p: Any) -> Job | None:
    found: Job | None = getattr(p, "clora", None)
    return found


@contextmanager
def _deferring_errors(job: Job) -> Generator[None, None, None]:
    """Keep the first error of the block for the moment when sampling starts."""
    try:
        yield
    except Exception as error:  # the host would log and drop it, and draw without us
        if job.record.error is None:
            job.record.error = error
        if isinstance(error, CLoRAError):
            log.error("CLoRA: %s", error.message)
        else:
            errors.report("CLoRA failed before sampling", exc_info=True)


# -- hooks, in the order in which the host calls them --------------------------------------------------------------


def process(p: Any, script: Any, args: Sequence[Any]) -> None:
    """A job begins, for our ``script``: check what is asked for and stand before its sampling. Off, touch nothing."""
    before = _job_of(p)
    if before is not None:
        before.step_aside(p)
    if is_part(p):
        return
    if before is None or before.p is p:  # a copy of a job that runs shares its dictionary
        for key in [key for key in p.extra_generation_params if key.startswith(f"{KEY} ")]:
            del p.extra_generation_params[key]  # X/Y/Z cells share this dictionary
    cell = getattr(p, "clora_cell", {})
    if is_off(args) and not cell:
        PACE.begin(p)
        _tell_off(p)
        return
    _come_last(p, script)
    job = Job(p)
    with _deferring_errors(job):
        PACE.begin(p)
        request = request_of(with_cell(args_to_fields(args), cell))
        job.record.request = request
        if not request.enabled:
            return
        p.extra_generation_params.update(to_infotext(request))
        for name in request.retired:
            log.warning("%s: %s", KEY, retired_note(name))
            p.comment(f"{KEY}: {retired_note(name)}")
        if p.disable_extra_networks:
            raise HostError("Extra networks are turned off for this job; CLoRA needs them.", "disable_extra_networks")
    p.clora = job
    job.guard = Replacement(p, "sample", lambda original: sampling_with(p, job, original))


def _tell_off(p: Any) -> None:
    """A comment below a picture whose prompt was written to be composed, and which is drawn without us in this tab."""
    loras = ", ".join(told_in_tags(p.all_prompts))
    if loras:
        p.comment(f"{KEY} is off: what the tags of {loras} say of subjects and roles does nothing; tick its box.")


def _come_last(p: Any, script: Any) -> None:
    """Have ``script`` told of the prompt's LoRAs after all others: what they make of these counts for bound ones too.

    The list is the host's own, which it keeps for the tab; nobody else's place in it changes, and switched off we do
    nothing there.
    """
    told = p.scripts.ordered_callbacks("after_extra_networks_activate")
    told.sort(key=lambda each: each.callback is script)


def activated(p: Any) -> None:
    """The host has loaded the prompt's LoRAs for a pass: bind them, and take the bound ones out of its hands.

    The host calls this several times in a batch where it encodes the second pass's texts early.
    """
    job = _job_of(p)
    if job is None or job.record.error is not None or job.record.request is None:
        return
    with _deferring_errors(job):
        if not in_hires_pass(p):
            job.bound = False
            job.passes, job.family = bound_passes(p, job.request), LoadedCheckpoint.now().family
            job.bound = True
        if job.passes:
            take_loras(job.current.host, job.current.prepared)


def attach(p: Any) -> None:
    """The host has made its sampler: compose while it samples."""
    job = _job_of(p)
    if job is None or not job.passes:
        return
    with _deferring_errors(job):
        job.watch.close()
        watched = replaced(p.sampler, "launch_sampling", lambda launch: composing_launch(p, job, launch))
        job.watch.enter_context(watched)


def drawn(p: Any, pictures: Tensor) -> None:
    """The host has the pictures of a batch [image, 3, height, width], from 0 to 1; others may redraw parts of them."""
    job = _job_of(p)
    if job is not None:
        remember_pictures(job, pictures)


def finished(p: Any, processed: Any) -> None:
    """The job is over: leave nothing of ours on it, keep the report, add the pictures that were asked for."""
    job, seconds = _job_of(p), PACE.seconds_of(p)
    if job is not None:
        job.step_aside(p)
        if job.record.request is not None:
            job.tell()
            pictures = _finished_pictures(p, job, processed)
            for at, picture in pictures:
                FINISHED.keep(processed.infotexts[at], picture)
            if job.request.show_masks:
                add_sheets(p, processed, pictures)
    if seconds is not None and processed.images:
        _keep_pace(p, job, seconds)


def _finished_pictures(p: Any, job: Job, processed: Any) -> list[tuple[int, Finished]]:
    """The job's pictures with masks, by their index in ``processed``; none for methods without masks."""
    first, request = processed.index_of_first_image, job.request
    fields = settings_fields(request)
    found: list[tuple[int, Finished]] = []
    for shown in shown_passes(job.record.passes):
        for number in range(len(shown.report.region_masks)):
            at = len(found)
            if first + at < len(processed.images):
                asked = p.all_negative_prompts[at], p.steps, request.bindings, fields
                found.append((first + at, Finished.of(shown, number, *asked)))
    return found


def _keep_pace(p: Any, job: Job | None, seconds: float) -> None:
    """Learn how long a picture took, where all were drawn to their end in one pass."""
    stopped = shared.state.interrupted or shared.state.skipped or shared.state.stopping_generation
    if stopped or getattr(p, "enable_hr", False):
        return
    strength = p.denoising_strength if getattr(p, "init_images", None) else 1.0
    sampling = Sampling(p.steps, p.width, p.height, strength)
    bound = [] if job is None else job.passes
    work = count_rows(bound[0].prepared, sampling).work if bound else 2.0 * made_steps(p.steps, strength)
    load = Load(SOURCE.model_kind(), p.width * p.height, work, composed=bool(bound))
    PACE.keep(load, seconds / (p.n_iter * p.batch_size))
