"""What a job does that can not be combined with composing."""

from collections.abc import Callable
from typing import Any, NamedTuple

from modules import sd_unet, shared

from clora_ext.errors import HostError
from clora_ext.hosts.webui.drive.samplers import COMPOSING, traits_of
from clora_ext.settings.knobs import Settings


class Obstacle(NamedTuple):
    """Something that stands in the way: the field that it is about, a sentence, and whether it is there."""

    field: str
    sentence: str
    stands: Callable[[Any, Settings], bool]


def _has_refiner(p: Any, _: Settings) -> bool:
    return getattr(p, "refiner_checkpoint", None) not in (None, "", "None", "none")


def _sampler_does_not_compose(p: Any, _: Settings) -> bool:
    traits = traits_of(str(p.sampler_name))
    return traits is None or not traits.composes


def _conditioning_key(_: Any, __: Settings) -> bool:
    return getattr(shared.sd_model.model, "conditioning_key", "crossattn") != "crossattn"


def _updates_with_lowvram(_: Any, settings: Settings) -> bool:
    return settings.method == "clora" and bool(shared.cmd_opts.lowvram)


def _routes_with_token_merging(p: Any, settings: Settings) -> bool:
    return settings.routes and p.get_token_merging_ratio() > 0.0


def _routes_with_hypertile(_: Any, settings: Settings) -> bool:
    return settings.routes and bool(getattr(shared.opts, "hypertile_enable_unet", False))


OBSTACLES = (
    Obstacle(
        "enable_hr",
        "CLoRA does not compose with hires. fix yet; turn it off.",
        lambda p, _: getattr(p, "enable_hr", False),
    ),
    Obstacle("refiner_checkpoint", "CLoRA does not compose with a refiner; choose none.", _has_refiner),
    Obstacle(
        "sampler_name",
        f"CLoRA does not compose with the sampler {{sampler}}; choose {', '.join(COMPOSING)}.",
        _sampler_does_not_compose,
    ),
    Obstacle(
        "sd_model_checkpoint",
        "CLoRA composes with Stable Diffusion 1.x checkpoints only; load one of those.",
        lambda _, __: not getattr(shared.sd_model, "is_sd1", False),
    ),
    Obstacle(
        "sd_model_checkpoint",
        "CLoRA does not compose with inpainting or edit checkpoints; load a text-to-image one.",
        _conditioning_key,
    ),
    Obstacle(
        "sd_unet",
        "A replaced UNet (TensorRT and the like) shows no attention; set SD Unet to None under Settings.",
        lambda _, __: sd_unet.current_unet is not None,
    ),
    Obstacle(
        "lowvram",
        "WebUI runs with --lowvram, which breaks the latent update; use --medvram, or the method masks.",
        _updates_with_lowvram,
    ),
    Obstacle(
        "token_merging_ratio",
        "Token merging joins pixels that are routed apart; set its ratio to 0, or turn “route” off.",
        _routes_with_token_merging,
    ),
    Obstacle(
        "hypertile_enable_unet",
        "Hypertile cuts up pictures whose pixels are routed; turn it off for the UNet, or turn “route” off.",
        _routes_with_hypertile,
    ),
    Obstacle(
        "disable_extra_networks",
        "Extra networks are turned off for this job; LoRAs can not be composed without them.",
        lambda p, _: getattr(p, "disable_extra_networks", False),
    ),
)


def require_no_obstacle(p: Any, settings: Settings) -> None:
    """Raise ``HostError`` for the first thing in job ``p`` that can not be composed with."""
    for obstacle in OBSTACLES:
        if obstacle.stands(p, settings):
            raise HostError(obstacle.sentence.format(sampler=p.sampler_name), field=obstacle.field)
