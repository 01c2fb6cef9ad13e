"""Which host this is, and what it does that can not be combined with composing."""

from importlib.util import find_spec
from typing import Any

SAMPLERS = ("Euler", "Euler a", "DPM++ 2M", "DDIM")
"""One model call per step, and a moved latent stays moved: measured on the host."""


def unsupported_host() -> str | None:
    """Why this program can not run the extension at all, or None. Asked once, at start."""
    if find_spec("modules_forge") is not None:
        return "CLoRA does not run on Forge or reForge, whose denoiser has no hooks for it; use AUTOMATIC1111 1.10.1."
    if find_spec("modules.sd_samplers_diffusers") is not None:
        return "CLoRA does not run on SD.Next, whose pipelines it can not join; use AUTOMATIC1111 1.10.1."
    from modules import script_callbacks, scripts

    if not hasattr(scripts.Script, "process_before_every_sampling") or not hasattr(
        script_callbacks, "on_cfg_after_cfg"
    ):
        return "CLoRA needs WebUI 1.10 or newer; update AUTOMATIC1111."
    return None


def obstacle(p: Any, *, updates: bool, routes: bool) -> tuple[str, str] | None:
    """(field, sentence) of the first thing in job ``p`` that can not be composed with, or None.

    ``updates`` says whether the latent will be updated, which needs a backward pass; ``routes`` whether a row's pixels
    will be told apart in every layer.
    """
    from modules import sd_unet, shared

    model, flags = shared.sd_model, shared.cmd_opts
    sampler = str(p.sampler_name)
    checks = (
        (getattr(p, "enable_hr", False), "enable_hr", "CLoRA does not compose with hires. fix yet; turn it off."),
        (
            getattr(p, "refiner_checkpoint", None) not in (None, "", "None", "none"),
            "refiner_checkpoint",
            "CLoRA does not compose with a refiner; choose none.",
        ),
        (
            sampler not in SAMPLERS,
            "sampler_name",
            f"CLoRA does not compose with the sampler {sampler}; choose {', '.join(SAMPLERS)}.",
        ),
        (
            not getattr(model, "is_sd1", False),
            "sd_model_checkpoint",
            "CLoRA composes with Stable Diffusion 1.x checkpoints only; load one of those.",
        ),
        (
            getattr(model.model, "conditioning_key", "crossattn") != "crossattn",
            "sd_model_checkpoint",
            "CLoRA does not compose with inpainting or edit checkpoints; load a text-to-image one.",
        ),
        (
            sd_unet.current_unet is not None,
            "sd_unet",
            "A replaced UNet (TensorRT and the like) shows no attention; set SD Unet to None under Settings.",
        ),
        (
            updates and flags.lowvram,
            "lowvram",
            "WebUI runs with --lowvram, which breaks the latent update; use --medvram, or the method masks.",
        ),
        (
            routes and p.get_token_merging_ratio() > 0.0,
            "token_merging_ratio",
            "Token merging joins pixels that are routed apart; set its ratio to 0, or turn “route” off.",
        ),
        (
            routes and getattr(shared.opts, "hypertile_enable_unet", False),
            "hypertile_enable_unet",
            "Hypertile cuts up pictures whose pixels are routed; turn it off for the UNet, or turn “route” off.",
        ),
        (
            getattr(p, "disable_extra_networks", False),
            "disable_extra_networks",
            "Extra networks are turned off for this job; LoRAs can not be composed without them.",
        ),
    )
    return next(((field, sentence) for found, field, sentence in checks if found), None)
