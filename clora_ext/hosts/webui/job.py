"""A job of the host that is to be composed: its passes, bound, and what they came to."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from modules import devices, errors
from torch import Tensor

from clora_ext.core.shapes import RegionMasks
from clora_ext.engine.branches import why_plain
from clora_ext.engine.prepare import Prepared, TokenPlans, prepare, require_same_subjects
from clora_ext.errors import PromptError
from clora_ext.hosts.webui.drive import neighbours
from clora_ext.hosts.webui.drive.asked import told_prompts, told_sampling
from clora_ext.hosts.webui.drive.host_rows import let_host_draw, take_over
from clora_ext.hosts.webui.drive.obstacles import adapted, require_no_obstacle
from clora_ext.hosts.webui.drive.port import WebUIHost
from clora_ext.hosts.webui.drive.reading import added_by_host, hidden_loras, unread_arguments
from clora_ext.hosts.webui.drive.sampling_pass import SamplingPass, first_pass, hires_pass, in_hires_pass
from clora_ext.hosts.webui.page.kept_masks import KEPT
from clora_ext.hosts.webui.page.last_job import JobRecord, LastJob
from clora_ext.patching import Replacement
from clora_ext.prompt import BoundPrompt
from clora_ext.settings.infotext import infotext_key
from clora_ext.settings.request import KEY, JobRequest

LAST_JOB = LastJob()


@dataclass(frozen=True)
class BoundPass:
    """A pass of the batch that is next, with the host as it is in that pass."""

    host: WebUIHost
    prepared: Prepared
    notes: tuple[str, ...]
    """What in the settings had to change."""


class Job:
    """What we know of one job; it lives on the host's processing object as ``clora`` while that runs."""

    def __init__(self, p: Any) -> None:
        self.p = p
        self.record = JobRecord(told_sampling(p), told_prompts(p))
        self.bound = False
        """Whether the batch that is next has been bound; ``passes`` is empty where the host draws it by itself."""
        self.passes: list[BoundPass] = []
        """Of the batch: the first, and that of hires. fix where there is one."""
        self.family: str | None = None
        """That of the model which the passes are bound for."""
        self.masks: list[RegionMasks] = []
        """What the batch's first pass has found."""
        self.pictures: list[Tensor] = []
        """Of the batch, once it is composed: small, to be known again when somebody redraws a part."""
        self.watch = ExitStack()
        """The wrapper around the host's sampler."""
        self.logged = errors.get_exceptions()[:1]
        """The last exception that the host has logged before the job."""
        self.guard: Replacement | None = None
        """That around ``p.sample``, which composes or raises what went wrong before it."""

    @property
    def request(self) -> JobRequest:
        """What is asked for. Raises ``RuntimeError`` where it could not be read."""
        if self.record.request is None:
            raise RuntimeError("the request was not read")
        return self.record.request

    @property
    def cause(self) -> str:
        """What the host has logged since the job began, which it does where a script of anybody's fails; or nothing."""
        latest = errors.get_exceptions()[:1]
        new = [record for record in latest if not any(record is known for known in self.logged)]  # equal ones are new
        return "".join(f": {record['exception']}" for record in new)

    def step_aside(self, p: Any) -> None:
        """Leave nothing of ours on ``p``, which may be a copy of the job's own object."""
        if self.guard is not None and p is self.p:
            self.guard.undo()
        elif self.guard is not None:
            self.guard.undo_in(p)
        p.__dict__.pop("clora", None)

    def tell(self) -> None:
        """Keep what the job has come to for whoever asks."""
        LAST_JOB.tell(self.record, devices.device)
        if self.record.request is not None:
            KEPT.keep(self.record.request.bindings)

    @property
    def current(self) -> BoundPass:
        """The pass that the host is in."""
        return self.passes[-1] if in_hires_pass(self.p) else self.passes[0]


def bound_passes(p: Any, request: JobRequest) -> list[BoundPass]:
    """The batch's passes with their prompts bound; none when the host's own image is what is asked for."""
    found = [_bind_pass(sampling, request) for sampling in (first_pass(p), hires_pass(p)) if sampling is not None]
    first = found[0].prepared
    if not first.composes:
        let_host_draw(p, first.bound)
        for note in _left_out(first, request):
            p.comment(f"{KEY}: {note}")
        if request.settings.method != "merge":
            _tell_plain(p, first.bound[0], found[0].host.sampling.prompts[0])
        return []
    p.extra_generation_params.pop(infotext_key("plain"), None)  # of the batch before
    require_no_obstacle(p)
    require_same_subjects(first, found[-1].prepared)
    for each in found:
        take_over(p, each.host, each.prepared)
        each.host.notes += unread_arguments(each.host.sampling.prompts, each.host.nets)
        TokenPlans(each.prepared, each.host)  # raises what is wrong with a prompt before anything is drawn
    return found


def _tell_plain(p: Any, bound: BoundPrompt, read: str) -> None:
    """Say in the answer, in the infotext and on the page that a picture was not composed, and why."""
    typed = p.prompt if isinstance(p.prompt, str) else p.prompt[0]
    hidden = ", ".join(hidden_loras(typed, read))
    why = f"{hidden} is in a comment that begins with a #" if hidden else why_plain(bound)
    p.extra_generation_params[infotext_key("plain")] = why
    p.comment(f"{KEY}: WebUI draws this picture by itself, for {why}.")


def _bind_pass(sampling: SamplingPass, request: JobRequest) -> BoundPass:
    neighbours.require_own_tags(sampling.prompts)
    host = WebUIHost(sampling)
    bindings = [*request.bindings, *added_by_host(sampling.prompts[0], request.bindings)]
    other = neighbours.forward_replaced()
    settings, notes = adapted(request.settings, sampling.sampler, hires=sampling.hires, replaced_by=other)
    try:
        prepared = prepare(sampling.prompts, bindings, settings, host)
    except PromptError as error:
        if "AND" in error.message:
            raise PromptError(error.message + neighbours.suspected(), field=error.field) from error
        raise
    return BoundPass(host, prepared, (*notes, *_left_out(prepared, request)))


def _left_out(prepared: Prepared, request: JobRequest) -> list[str]:
    """A note where own masks are given to a method that has no use for them."""
    if request.settings.masked or not prepared.has_own_masks:
        return []
    return [f"the method {request.settings.method} takes no masks; yours were left out."]
