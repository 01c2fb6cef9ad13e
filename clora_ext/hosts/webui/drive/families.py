"""Which family the loaded model is of, and which one a LoRA's metadata says that it was made for."""

from collections.abc import Mapping
from typing import Any

FAMILIES: Mapping[str, str] = {
    "is_sd1": "Stable Diffusion 1.x",
    "is_sd2": "Stable Diffusion 2.x",
    "is_sdxl": "SDXL",
}
"""Those that compose, by the host's own marks (sd_models.set_model_type)."""
PLAIN_CHANNELS = 4
"""Of what goes into the UNet of a text-to-image model; inpainting and edit models have more."""
TRAINED_FOR: Mapping[str, str] = {
    "sd_v1": "is_sd1",
    "sd_v2": "is_sd2",
    "sdxl": "is_sdxl",
    "stable-diffusion-v1": "is_sd1",
    "stable-diffusion-v2": "is_sd2",
    "stable-diffusion-xl": "is_sdxl",
    "sd3": "Stable Diffusion 3",
    "stable-diffusion-3": "Stable Diffusion 3",
    "flux": "Flux",
}
"""How kohya's ``ss_base_model_version`` and ``modelspec.architecture`` begin, and the family that they mean."""


def loaded_family(model: Any) -> str | None:
    """The family of ``model`` in words; None for one that does not compose."""
    return next((words for mark, words in FAMILIES.items() if getattr(model, mark, False)), None)


def model_kind(model: Any) -> str:
    """What ``model`` is and how it is run, in words; None is no model."""
    if model is None:
        return "none is loaded"
    unet = model.model.diffusion_model
    weight = next(unet.parameters())
    channels = f", of {unet.in_channels} channels" if unet.in_channels != PLAIN_CHANNELS else ""
    predicts = "v" if predicts_velocity(model) else "noise"
    kind = loaded_family(model) or type(model).__name__
    return f"{kind}{channels}, predicts {predicts}, {str(weight.dtype).removeprefix('torch.')} on {weight.device}"


def lora_family(metadata: Mapping[str, Any]) -> str | None:
    """The family in words that a LoRA's metadata names; None where it names none that is known."""
    for key in ("ss_base_model_version", "modelspec.architecture"):
        told = str(metadata.get(key, "")).lower()
        for start, mark in TRAINED_FOR.items():
            if told.startswith(start):
                return FAMILIES.get(mark, mark)
    return None


def predicts_velocity(model: Any) -> bool:
    """Whether the host's ``model`` predicts v instead of the noise; its own test (sd_samplers_kdiffusion.py)."""
    return getattr(model, "parameterization", "eps") == "v"
