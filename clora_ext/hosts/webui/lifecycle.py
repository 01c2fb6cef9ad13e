"""One job through the host's script hooks: what is asked for, what is bound, and sampling with it.

The host swallows exceptions in script hooks and would go on without us, so an error is kept and raised where
sampling starts, before any UNet call.
"""

import logging
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from modules import errors, extra_networks, shared

from clora_ext.core.concepts import Plan
from clora_ext.engine.job import Job, Wear, composes, job, plan
from clora_ext.engine.report import JobReport
from clora_ext.engine.step import Composition
from clora_ext.errors import BindingError, CLoRAError, HostError
from clora_ext.hosts.webui import compat, conditions, fields, networks, shown, tokens, xyz
from clora_ext.hosts.webui.options import with_defaults
from clora_ext.hosts.webui.reports import last, summary
from clora_ext.hosts.webui.sampling import Sampling
from clora_ext.prompt import Binding, BoundPrompt, bind, find_tags, remove_tags
from clora_ext.request import KEY, JobRequest, read, to_infotext

log = logging.getLogger("clora")


@dataclass
class Batch:
    """One batch of a job, bound: what ``sample`` needs to compose it."""

    bounds: tuple[BoundPrompt, ...]
    works: tuple[Job, ...]
    nets: dict[str, Any]
    others: list[Any]


@dataclass
class State:
    """What we know of a job; it lives on the host's processing object as ``clora``."""

    request: JobRequest | None = None
    error: Exception | None = None
    ready: bool = False
    batch: Batch | None = None
    sampling: Sampling | None = None
    reports: list[JobReport] = field(default_factory=list)
    names: list[tuple[str, ...]] = field(default_factory=list)
    """Per report, the LoRAs of its subjects."""
    began: float = field(default_factory=time.time)


@contextmanager
def _kept(state: State) -> Generator[None, None, None]:
    """Keep the first error of the block for the moment when sampling starts. The one broad ``except`` there is."""
    try:
        yield
    except Exception as error:
        if state.error is None:
            state.error = error
        if isinstance(error, CLoRAError):
            log.error("CLoRA: %s", error.message)
        else:
            errors.report("CLoRA failed before sampling", exc_info=True)


# -- hooks, in the order in which the host calls them --------------------------------------------------------------


def process(p: Any, args: Sequence[Any]) -> None:
    """A job begins: check what is asked for and stand before its sampling. Off, nothing is touched."""
    for key in [key for key in p.extra_generation_params if key.startswith(f"{KEY} ")]:
        del p.extra_generation_params[key]  # X/Y/Z cells share this dictionary
    _release(p)
    cell = getattr(p, "clora_cell", {})
    if fields.off(args) and not cell:
        return
    state = State()
    with _kept(state):
        state.request = read(with_defaults(xyz.overlaid(fields.named(args), cell)))
        if not state.request.enabled:
            return
        p.extra_generation_params.update(to_infotext(state.request))
        if p.disable_extra_networks:
            raise HostError("Extra networks are turned off for this job; CLoRA needs them.", "disable_extra_networks")
    p.clora = state
    _guard(p, state)


def activated(p: Any) -> None:
    """The host has loaded the prompt's LoRAs for one batch: bind them and take the bound ones out of its hands."""
    state: State | None = getattr(p, "clora", None)
    if state is None or state.error is not None or state.request is None:
        return
    with _kept(state):
        state.ready, state.batch = False, None
        state.batch = _bound(p, state.request)
        state.ready = True


def attach(p: Any) -> None:
    """The host has made its sampler: watch its denoiser."""
    sampling = getattr(getattr(p, "clora", None), "sampling", None)
    if sampling is not None:
        sampling.attach(p.sampler.model_wrap_cfg)


def finished(p: Any, processed: Any) -> None:
    """The job is over: leave nothing of ours on it, keep the report, add the pictures that were asked for."""
    state: State | None = getattr(p, "clora", None)
    _release(p)
    if state is not None and state.request is not None:
        _tell(state)
        if state.request.show_masks:
            shown.add_masks(p, processed, state.reports, state.names)


def _tell(state: State) -> None:
    last.report = summary(state.request, state.reports, state.names, state.began, state.error)


def _guard(p: Any, state: State) -> None:
    original = p.sample

    def sample(*args: Any, **kwargs: Any) -> Any:
        try:
            if state.error is not None:
                raise state.error
            if not state.ready:
                raise HostError("WebUI did not load the prompt's LoRAs, so they can not be composed; see the log.")
            if state.batch is None:
                return original(*args, **kwargs)
            with _composing(p, state, state.batch):
                return original(*args, **kwargs)
        except Exception as error:
            state.error = error
            _release(p)
            _tell(state)
            raise

    sample.clora = original  # type: ignore[attr-defined]
    p.sample = sample


def _release(p: Any) -> None:
    """Take our guard off ``p.sample``; a copy of a job carries its original's along."""
    if hasattr(p.__dict__.get("sample"), "clora"):
        original = p.__dict__.pop("sample").clora
        if getattr(original, "__self__", None) is not p:  # somebody else's wrapper was there before us
            p.sample = original
    p.__dict__.pop("clora", None)


# -- binding -------------------------------------------------------------------------------------------------------


def _bound(p: Any, request: JobRequest) -> Batch | None:
    """Bind the batch's prompts; None when the host's own image is what is asked for."""
    start = p.iteration * p.batch_size
    prompts = p.all_prompts[start : start + p.batch_size]
    asked = list(request.bindings)
    asked += [binding for binding in _added_by_host(prompts[0]) if binding.lora not in {b.lora for b in asked}]
    names = dict.fromkeys([tag.name for prompt in prompts for tag in find_tags(prompt)] + [b.lora for b in asked])
    facts = {name: networks.facts(name) for name in names}
    bounds = tuple(bind(prompt, facts, asked) for prompt in prompts)
    _require_alike(bounds)
    works = tuple(job(bound, remove_tags(text), request.settings) for bound, text in zip(bounds, prompts, strict=True))
    if not composes(bounds[0], request.settings):
        _merge(p, bounds)
        return None
    wanted = request.settings
    obstacle = compat.obstacle(p, updates=wanted.method == "clora", routes=wanted.routes)
    if obstacle is not None:
        raise HostError(obstacle[1], field=obstacle[0])
    return _take_over(p, request, bounds, works)


def _added_by_host(prompt: str) -> list[Binding]:
    """The LoRA that the setting “Add network to prompt” puts on everything is a style, unless it is bound by hand."""
    name = shared.opts.sd_lora
    tagged = [tag for tag in find_tags(prompt) if tag.name == name]
    return [Binding(name, role="style")] if name != "None" and tagged and prompt.rstrip().endswith(">") else []


def _require_alike(bounds: Sequence[BoundPrompt]) -> None:
    """The host loads the LoRAs of a batch's first prompt for all of it."""
    kinds = {tuple((part.lora, part.te, part.unet) for part in (*b.subjects, *b.styles)) for b in bounds}
    if len(kinds) > 1:
        msg = "The prompts of one batch name different LoRAs or weights; use batch count instead of batch size."
        raise BindingError(msg, field="prompt")


def _wears(bound: BoundPrompt) -> list[Wear]:
    return [Wear(part.lora, part.te, part.unet, part.dyn) for part in (*bound.subjects, *bound.styles)]


def _merge(p: Any, bounds: Sequence[BoundPrompt]) -> None:
    """Let the host draw: all LoRAs on everything. Only what a binding adds to the prompt's tags is seen to."""
    wears = _wears(bounds[0])
    nets = networks.loaded([wear.name for wear in wears])
    state = [(net.name, net.te_multiplier, net.unet_multiplier) for net in networks.builtin().loaded_networks]
    networks.wear(wears, nets)
    if state != [(net.name, net.te_multiplier, net.unet_multiplier) for net in networks.builtin().loaded_networks]:
        _mark(p, repr(wears))
    if len(bounds[0].subjects) == 1:
        p.prompts = [bound.branches[0] for bound in bounds]  # as typed, but for an explicit trigger that is put in


def _take_over(p: Any, request: JobRequest, bounds: tuple[BoundPrompt, ...], works: tuple[Job, ...]) -> Batch:
    """Give the host the text that its own rows stand for and the LoRAs that are everywhere; the rest is ours."""
    work = works[0]
    every = {wear.name for wears in work.worn.values() for wear in wears}
    nets = networks.loaded([*every, *(wear.name for wear in work.everywhere)])
    first = min(work.worn) if request.settings.masked else 1
    p.prompts = [each.texts[first] for each in works]
    _mark(p, f"{request.settings.method} {work.encoded[first]!r} {work.everywhere!r}")
    networks.wear([*work.everywhere, *work.encoded[first]], nets)
    others = [nets[wear.name] for wear in work.everywhere]
    return Batch(bounds, works, nets, others)


def _mark(p: Any, fingerprint: str) -> None:
    """Make the host's cache of conditions tell ours from those of an ordinary job with the same prompt."""
    p.extra_network_data["clora"] = [extra_networks.ExtraNetworkParams(items=[fingerprint.replace("=", " ")])]


# -- sampling ------------------------------------------------------------------------------------------------------


@contextmanager
def _composing(p: Any, state: State, batch: Batch) -> Generator[None, None, None]:
    """Sampling inside composes; hooks and LoRAs are as before afterwards, whatever happened."""
    settings, work = state.request.settings, batch.works[0]
    worn = {branch: [wear.key for wear in wears] for branch, wears in work.worn.items()}
    plans = _plans(p, batch, masked=settings.masked)
    composition = Composition(plans(0), worn, settings, p.cfg_scale)
    composition.report.subjects = tuple(subject.words for subject in batch.bounds[0].subjects)
    ours = (
        {branch: [each.texts[branch] for each in batch.works] for branch in worn if branch} if settings.masked else {}
    )
    schedules = conditions.encode(ours, p.negative_prompts, work.encoded, batch.nets, batch.others, p)
    everyone = dict.fromkeys(wear for wears in work.worn.values() for wear in wears)
    sampling = Sampling(
        composition,
        schedules,
        deltas=lambda: {wear.key: networks.unet_deltas(batch.nets[wear.name], wear) for wear in everyone},
        plan_at=plans,
        steps=p.steps,
    )
    state.sampling = sampling
    try:
        with networks.wearing((), {}, batch.others), sampling.running():
            yield
    finally:
        state.sampling = None
        state.reports.append(composition.report)
        state.names.append(tuple(subject.lora for subject in batch.bounds[0].subjects))
        for note in dict.fromkeys(note for step in composition.report.steps for note in step.notes):
            p.comment(f"CLoRA: {note}")
        _tell(state)


def _plans(p: Any, batch: Batch, *, masked: bool) -> Any:
    """A function from step to the plans of all images; a prompt that is edited while sampling has several."""
    if not masked:
        return lambda step: [Plan(())] * len(batch.bounds)
    steps = p.firstpass_steps
    stages = [{b: tokens.schedule(text, steps) for b, text in work.texts.items()} for work in batch.works]

    @cache
    def at(image: int, stage: tuple[int, ...]) -> Plan:
        texts = batch.bounds[image].texts
        return plan(
            batch.bounds[image],
            lambda branch, spans: tokens.columns(texts[branch], stages[image][branch][stage[branch]][1], spans),
        )

    def plans(step: int) -> list[Plan]:
        return [
            at(image, tuple(tokens.stage(of[branch], step) for branch in range(len(of))))
            for image, of in enumerate(stages)
        ]

    for step in {until for of in stages for several in of.values() for until, _ in several}:
        plans(step)  # a subject that an edit takes out is found now, before anything is drawn
    return plans
