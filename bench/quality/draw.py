"""Draws a job's pictures with the embedded host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from bench.quality.jobs import Job
from clora_ext.engine.prepare import bind_prompts
from clora_ext.hosts.diffusers.checkpoint import Model
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.prompt import Binding, BoundPrompt, read_bindings
from clora_ext.settings.profiles import build_settings


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures of a job's seeds. ``lora``: the one that was worn alone, or None. ``weights``: who drew what, per
    picture [branch, height, width], empty where a method has no masks; ``loras`` are the branches' from 1 on."""

    images: tuple[Image.Image, ...]
    lora: str | None
    weights: Sequence[Tensor]
    loras: tuple[str, ...]
    rows: int
    seconds: float


def bound(library: Library, job: Job) -> BoundPrompt:
    """The job's prompt, bound."""
    bindings = read_bindings(list(job.prompt.bindings))
    (found,) = bind_prompts([job.prompt.prompt], bindings, library.facts)
    return found


def draw(model: Model, library: Library, job: Job) -> list[Drawn]:
    """One batch for most methods, none where a method has nothing to draw, for ``single`` one per subject."""
    words = bound(library, job)
    match job.method.draws:
        case "base":
            return [_drawn(model, library, job, words.base, ())]
        case "single" if job.prompt.style is None:
            factor = job.method.weight
            return [
                _drawn(model, library, job, text, _worn(subject.lora, subject.unet * factor), alone=subject.lora)
                for subject, text in zip(words.subjects, words.branches, strict=True)
            ]
        case "single" if job.prompt.style.on is None:
            style = words.styles[0]
            return [_drawn(model, library, job, words.base, _worn(style.lora, style.unet * job.method.weight))]
        case "single":
            return []
    return [_drawn(model, library, job, job.prompt.prompt, weighed(job, words))]


def without(model: Model, library: Library, job: Job, lora: str) -> Drawn:
    """The same pictures with the weight of ``lora`` at 0 and everything else as it was."""
    return _drawn(model, library, job, job.prompt.prompt, weighed(job, bound(library, job), {lora: 0.0}))


def weighed(job: Job, words: BoundPrompt, factors: Mapping[str, float] | None = None) -> tuple[Binding, ...]:
    """The prompt's bindings with every LoRA's weight multiplied by the method's."""
    said: dict[str, Mapping[str, Any]] = {entry["lora"]: entry for entry in job.prompt.bindings}
    made = [
        {**said.get(part.lora, {}), "lora": part.lora}
        | {"weight": part.unet * job.method.weight * (factors or {}).get(part.lora, 1.0)}
        for part in (*words.subjects, *words.styles)
    ]
    return read_bindings(made)


def _worn(lora: str, weight: float) -> tuple[Binding, ...]:
    """One LoRA on everything, whatever the words: as WebUI draws it."""
    return (Binding(lora, weight=weight, role="style"),)


def _drawn(
    model: Model, library: Library, job: Job, text: str, bindings: Sequence[Binding], alone: str | None = None
) -> Drawn:
    wanted = job.method.settings if job.method.draws == "composed" else build_settings(method="merge")
    numbers = job.sampling
    picture = Picture(
        text, numbers.negative, job.seeds, numbers.steps, numbers.cfg_scale, numbers.width, numbers.height
    )
    result = generate(model, library, picture, wanted, bindings)
    loras = tuple(binding.lora for binding in bindings)[: len(result.report.subjects)]
    weights = result.report.region_masks if wanted.masked else ()
    return Drawn(result.images, alone, weights, loras, result.report.rows, result.seconds)
