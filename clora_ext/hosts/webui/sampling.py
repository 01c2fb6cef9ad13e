"""The host's sampling, of which every pass composes."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from modules import shared
from modules.processing import Processed

from clora_ext.core.schedule import position_of
from clora_ext.core.shapes import RegionMasks
from clora_ext.engine.prepare import lora_names
from clora_ext.engine.run import Run, composing
from clora_ext.engine.step import Composition
from clora_ext.errors import CLoRA, CLoRAError, HostError, let_go
from clora_ext.hosts.webui.drive import neighbours, networks
from clora_ext.hosts.webui.drive.call import DenoiserCall
from clora_ext.hosts.webui.drive.conditions import Schedules
from clora_ext.hosts.webui.drive.denoiser import DenoiserHook
from clora_ext.hosts.webui.drive.live_strengths import LiveStrengths
from clora_ext.hosts.webui.drive.loaded_model import LoadedCheckpoint, doubts
from clora_ext.hosts.webui.drive.own_masks import own_masks
from clora_ext.hosts.webui.drive.replaying import asked_guard
from clora_ext.hosts.webui.drive.samplers import MASKS_ONLY, traits_of
from clora_ext.hosts.webui.drive.sampling_pass import enlarged
from clora_ext.hosts.webui.drive.shortcuts import shortcuts_off
from clora_ext.hosts.webui.drive.whole_picture import look_outside, window_of
from clora_ext.hosts.webui.job import BoundPass, Job
from clora_ext.hosts.webui.page.live_preview import masks_in_preview
from clora_ext.hosts.webui.page.pass_record import PassRecord
from clora_ext.patching import Function
from clora_ext.settings.request import KEY

OUTSIDE = "the subject of “{lora}” is outside of the part that is drawn and claims no pixel of it."


def sampling_with(p: Any, job: Job, original: Function) -> Function:
    """``p.sample`` of which every pass composes."""

    def sample(*args: Any, **kwargs: Any) -> Any:
        job.masks, done = [], len(job.record.passes)
        try:
            if job.record.error is not None:
                raise job.record.error
            if not job.bound:
                msg = f"WebUI did not load the prompt's LoRAs, so they can not be composed{job.cause}; see the log."
                raise HostError(msg)
            with job.watch:
                found = original(*args, **kwargs)
            if job.record.error is not None:
                raise job.record.error
            if job.passes and len(job.record.passes) == done and not shared.state.interrupted:
                raise HostError(_not_composed(p, job))
            return found
        except Exception as error:  # kept for the report, and raised again
            job.record.error = error
            job.step_aside(p)
            job.tell()
            _end_others(p)
            let_go(error)
            if isinstance(error, CLoRAError) and not getattr(p, "is_api", False):
                raise CLoRA(error.message, error.field) from error
            raise

    return sample


def _not_composed(p: Any, job: Job) -> str:
    """Why the host has sampled without us, in words: who stood before its sampler has failed, or it is another's."""
    if job.cause:
        return f"What composes was not put around the sampler {p.sampler_name}{job.cause}; see the log."
    return f"The sampler {p.sampler_name} does not sample as WebUI's do; choose another."


def _end_others(p: Any) -> None:
    """Tell other extensions that a job is over, which the host does not where it fails: what they put in comes out."""
    if p.scripts is not None:
        p.scripts.postprocess(p, Processed(p, []))


def composing_launch(p: Any, job: Job, launch: Function) -> Function:
    """The sampler's ``launch_sampling`` that composes."""

    def launch_sampling(steps: int, sample: Function) -> Any:
        if job.record.error is not None:
            raise job.record.error
        with _pass_running(p, job, steps):
            return launch(steps, sample)

    return launch_sampling


@contextmanager
def _pass_running(p: Any, job: Job, steps: int) -> Generator[None, None, None]:
    """A pass that is sampled inside composes; hooks and LoRAs are as before afterwards, whatever happened."""
    own, model = job.current, LoadedCheckpoint.now()
    if model.family != job.family:  # hires. fix with another checkpoint
        p.comment(f"{KEY}: {model.draws_alone}")
        yield
        return
    neighbours.require_own_attention()
    neighbours.require_whole_pictures(p.sampler.model_wrap_cfg)
    prepared, settings = own.prepared, own.prepared.settings
    notes = [*own.notes, *own.host.notes, *doubts(own.host.sampling.sampler)]
    masks = enlarged(p, job.masks) if own.host.sampling.hires and not settings.hires_updates else []
    painted = own_masks(p, prepared)
    traits = traits_of(own.host.sampling.sampler) or MASKS_ONLY

    def open_run(known: Sequence[RegionMasks]) -> AbstractContextManager[Run[Schedules]]:
        return composing(prepared, own.host, p.cfg_scale, known, painted, asked_guard())

    def begin(composition: Composition, call: DenoiserCall) -> None:
        composition.reopen_masks(position_of(call.point, settings.count_by))
        for concept in sorted(look_outside(p, composition, call)):
            subject = prepared.bound[0].subjects[concept]
            notes.append(OUTSIDE.format(lora=subject.key or subject.lora))

    with ExitStack() as stack:
        stack.enter_context(networks.host_applies((), {}, own.host.everywhere))
        if settings.routes:
            notes += stack.enter_context(shortcuts_off())
        strengths = LiveStrengths(prepared.unet_loras, own.host.nets, own.host.written)
        hook = DenoiserHook(open_run, p.sampler, traits, steps, strengths, begin)
        stack.callback(own.host.clock.put_back)
        stack.callback(_tell_pass, p, job, own, hook, notes)
        stack.enter_context(
            masks_in_preview(lambda: hook.runs[-1].composition.report.region_masks if hook.runs else [])
        )
        stack.enter_context(hook.running(masks))
        yield


def _tell_pass(p: Any, job: Job, own: BoundPass, hook: DenoiserHook, notes: Sequence[str]) -> None:
    """The pass is over: keep what it came to."""
    reports = [run.composition.report for run in hook.runs]
    found = [*notes, *(note for report in reports for note in report.notes), *hook.notes]
    prompts = tuple(own.host.sampling.prompts)
    names = {name: own.host.facts(name).name for name in lora_names(prompts, job.request.bindings)}
    told = prompts, own.prepared.bound[0], names, tuple(found), window_of(p)
    for run in hook.runs:
        job.record.passes.append(PassRecord(p.iteration, own.host.sampling.hires, run.composition.report, *told))
        job.masks = run.composition.found_masks
    for note in found:
        p.comment(f"{KEY}: {note}")
    job.tell()
