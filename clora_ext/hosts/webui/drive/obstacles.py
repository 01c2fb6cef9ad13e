"""What a job does that can not be combined with composing, or only by masks."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from modules import sd_unet, shared

from clora_ext.errors import HostError
from clora_ext.hosts.webui.drive.families import FAMILIES, loaded_family
from clora_ext.hosts.webui.drive.samplers import MASKS_ONLY, SamplerTraits, traits_of
from clora_ext.settings.knobs import Settings


class Obstacle(NamedTuple):
    """Something that stands in the way: the field that it is about, a sentence, and whether it is there."""

    field: str
    sentence: str
    stands: Callable[[Any], bool]


def _has_other_conditions(_: Any) -> bool:
    """unCLIP gives an image's embedding beside the text, edit models a third half of guidance."""
    model = shared.sd_model
    edits = getattr(model, "cond_stage_key", "") == "edit"
    return edits or getattr(model.model, "conditioning_key", "crossattn") == "crossattn-adm"


OBSTACLES = (
    Obstacle(
        "sd_model_checkpoint",
        f"CLoRA composes with checkpoints of {', '.join(FAMILIES.values())}; load one of those.",
        lambda _: loaded_family(shared.sd_model) is None,
    ),
    Obstacle(
        "sd_model_checkpoint",
        "CLoRA does not compose with unCLIP or edit checkpoints; load a text-to-image or inpainting one.",
        _has_other_conditions,
    ),
    Obstacle(
        "sd_unet",
        "A replaced UNet (TensorRT and the like) shows no attention; set SD Unet to None under Settings.",
        lambda _: sd_unet.current_unet is not None,
    ),
    Obstacle(
        "disable_extra_networks",
        "Extra networks are turned off for this job; LoRAs can not be composed without them.",
        lambda p: getattr(p, "disable_extra_networks", False),
    ),
)


def obstacles(p: Any = None) -> Iterator[HostError]:
    """What job ``p`` can not be composed with; without one, what the host has loaded."""
    for obstacle in OBSTACLES:
        if obstacle.stands(p):
            yield HostError(obstacle.sentence, field=obstacle.field)


def require_no_obstacle(p: Any) -> None:
    """Raise the first of ``obstacles``."""
    for error in obstacles(p):
        raise error


def adapted(
    settings: Settings, sampler: str, *, hires: bool, replaced_by: str | None = None
) -> tuple[Settings, list[str]]:
    """The settings of a pass, and notes of what in them had to change for its sampler.

    Where the latent can not be updated, masks. ``replaced_by`` is who calls the UNet in another way than the host.
    """
    traits, notes = traits_of(sampler) or MASKS_ONLY, []
    if traits.extrapolates and settings.masked and settings.emphasis > 1.0:
        settings = replace(settings, emphasis=1.0)
        notes.append(f"{sampler} extrapolates, so the LoRA emphasis is 1")
    if settings.method != "clora":
        return settings, notes
    if hires and not settings.hires_updates:
        return replace(settings, method="masks"), notes
    why = _why_no_updates(sampler, traits, replaced_by)
    if why is None:
        return settings, notes
    notes.append(f"{why}, so masks alone keep the subjects apart: they are not pushed")
    return replace(settings, method="masks"), notes


def _why_no_updates(sampler: str, traits: SamplerTraits, replaced_by: str | None) -> str | None:
    if traits_of(sampler) is None:
        return f"the sampler {sampler} is none of WebUI's own"
    if not traits.updates:
        return f"the sampler {sampler} goes back and forth in time"
    if replaced_by is not None:
        return f"{replaced_by} calls the UNet in its own way"
    return "WebUI runs with --lowvram" if shared.cmd_opts.lowvram else None
