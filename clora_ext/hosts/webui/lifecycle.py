"""One job through the host's script hooks: what is asked for, what is bound, and sampling with it.

The host swallows exceptions in script hooks and would go on without us, so an error is kept and raised where
sampling starts, before any UNet call.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from modules import devices, errors

from clora_ext.engine.prepare import Prepared, prepare
from clora_ext.engine.run import composing
from clora_ext.errors import CLoRAError, HostError
from clora_ext.hosts.webui.drive import networks
from clora_ext.hosts.webui.drive.denoiser import DenoiserHook
from clora_ext.hosts.webui.drive.host_rows import added_by_host, let_host_draw, take_over
from clora_ext.hosts.webui.drive.obstacles import require_no_obstacle
from clora_ext.hosts.webui.drive.port import WebUIHost
from clora_ext.hosts.webui.drive.samplers import SamplerTraits, traits_of
from clora_ext.hosts.webui.drive.source import WebUISource
from clora_ext.hosts.webui.page.fields import args_to_fields, is_off, request_of
from clora_ext.hosts.webui.page.last_job import JobRecord, LastJob
from clora_ext.hosts.webui.page.live_preview import masks_in_preview
from clora_ext.hosts.webui.page.overlays import add_sheets
from clora_ext.hosts.webui.page.xyz import with_cell
from clora_ext.patching import Function, Replacement
from clora_ext.settings.infotext import to_infotext
from clora_ext.settings.request import KEY, JobRequest
from clora_ext.settings.retired import retired_note

log = logging.getLogger("clora")
SOURCE = WebUISource()
"""What the page asks of the drive."""
LAST_JOB = LastJob()


class Job:
    """What we know of one job; it lives on the host's processing object as ``clora`` while that runs."""

    def __init__(self, p: Any) -> None:
        self.host = WebUIHost(p)
        self.record = JobRecord()
        self.bound = False
        """Whether the batch that is next has been bound; ``prepared`` is None where the host draws it by itself."""
        self.prepared: Prepared | None = None
        self.hook: DenoiserHook | None = None
        self._guard: Replacement | None = None

    @property
    def request(self) -> JobRequest:
        """What is asked for. Raises ``RuntimeError`` where it could not be read."""
        if self.record.request is None:
            raise RuntimeError("the request was not read")
        return self.record.request

    def stand_before_sampling(self, p: Any) -> None:
        """From now on ``p.sample`` composes, or raises what went wrong before it."""
        self._guard = Replacement(p, "sample", lambda original: _sampling_with(p, self, original))

    def step_aside(self, p: Any) -> None:
        """Leave nothing of ours on ``p``, which may be a copy of the job's own object."""
        if self._guard is not None and p is self.host.p:
            self._guard.undo()
        elif self._guard is not None:
            self._guard.undo_in(p)
        p.__dict__.pop("clora", None)

    def tell(self) -> None:
        """Keep what the job has come to for whoever asks."""
        LAST_JOB.tell(self.record, devices.device)


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


def process(p: Any, args: Sequence[Any]) -> None:
    """A job begins: check what is asked for and stand before its sampling. Off, nothing is touched."""
    before = _job_of(p)
    if before is not None:
        before.step_aside(p)
    for key in [key for key in p.extra_generation_params if key.startswith(f"{KEY} ")]:
        del p.extra_generation_params[key]  # X/Y/Z cells share this dictionary
    cell = getattr(p, "clora_cell", {})
    if is_off(args) and not cell:
        return
    job = Job(p)
    with _deferring_errors(job):
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
    job.stand_before_sampling(p)


def activated(p: Any) -> None:
    """The host has loaded the prompt's LoRAs for one batch: bind them and take the bound ones out of its hands."""
    job = _job_of(p)
    if job is None or job.record.error is not None or job.record.request is None:
        return
    job.bound, job.prepared = False, None
    with _deferring_errors(job):
        job.prepared = _prepared(p, job)
        job.bound = True


def attach(p: Any) -> None:
    """The host has made its sampler: watch its denoiser."""
    job = _job_of(p)
    if job is not None and job.hook is not None:
        job.hook.attach(p.sampler.model_wrap_cfg)


def finished(p: Any, processed: Any) -> None:
    """The job is over: leave nothing of ours on it, keep the report, add the pictures that were asked for."""
    job = _job_of(p)
    if job is None:
        return
    job.step_aside(p)
    if job.record.request is not None:
        job.tell()
        if job.request.show_masks:
            add_sheets(p, processed, job.record.reports, job.record.loras)


# -- binding -------------------------------------------------------------------------------------------------------


def _prepared(p: Any, job: Job) -> Prepared | None:
    """Bind the batch's prompts; None when the host's own image is what is asked for."""
    request, start = job.request, p.iteration * p.batch_size
    prompts = p.all_prompts[start : start + p.batch_size]
    bindings = [*request.bindings, *added_by_host(prompts[0], request.bindings)]
    prepared = prepare(prompts, bindings, request.settings, job.host)
    if not prepared.composes:
        let_host_draw(p, prepared.bound)
        return None
    require_no_obstacle(p, request.settings)
    take_over(p, job.host, prepared)
    return prepared


# -- sampling ------------------------------------------------------------------------------------------------------


def _sampling_with(p: Any, job: Job, original: Function) -> Function:
    """``p.sample`` that composes."""

    def sample(*args: Any, **kwargs: Any) -> Any:
        try:
            if job.record.error is not None:
                raise job.record.error
            if not job.bound:
                raise HostError("WebUI did not load the prompt's LoRAs, so they can not be composed; see the log.")
            if job.prepared is None:
                return original(*args, **kwargs)
            with _composing(p, job, job.prepared):
                return original(*args, **kwargs)
        except Exception as error:  # kept for the report, and raised again
            job.record.error = error
            job.step_aside(p)
            job.tell()
            raise

    return sample


@contextmanager
def _composing(p: Any, job: Job, prepared: Prepared) -> Generator[None, None, None]:
    """Sampling inside composes; hooks and LoRAs are as before afterwards, whatever happened."""
    traits = traits_of(str(p.sampler_name)) or SamplerTraits()
    with networks.host_applies((), {}, job.host.everywhere), composing(prepared, job.host, p.cfg_scale) as run:
        report = run.composition.report
        job.hook = DenoiserHook(run, traits, p.steps)
        try:
            with job.hook.running(), masks_in_preview(lambda: report.region_masks):
                yield
        finally:
            job.hook = None
            job.record.reports.append(report)
            job.record.loras.append(prepared.subject_loras)
            for note in report.notes:
                p.comment(f"{KEY}: {note}")
            job.tell()
