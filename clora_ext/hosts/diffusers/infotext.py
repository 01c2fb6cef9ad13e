"""The text in a PNG that WebUI reads back: the same keys, so a picture can be made again in either host."""

import json

from clora_ext.hosts.diffusers.pipeline import Picture
from clora_ext.settings.infotext import to_infotext
from clora_ext.settings.request import JobRequest


def infotext(picture: Picture, seed: int, model: str, request: JobRequest, *, zero_terminal_snr: bool = False) -> str:
    """WebUI's format (modules/infotext_utils.py): prompt, negative prompt, then ``key: value`` pairs."""
    noise = {"Noise Schedule": "Zero Terminal SNR"} if zero_terminal_snr else {}
    pairs = {
        "Steps": str(picture.steps),
        "Sampler": picture.sampler,
        "Schedule type": "Automatic",
        "CFG scale": f"{picture.cfg_scale:g}",
        "Seed": str(seed),
        "Size": f"{picture.width}x{picture.height}",
        "Model": model,
        **noise,
        **to_infotext(request),
    }
    negative = f"\nNegative prompt: {picture.negative}" if picture.negative else ""
    return f"{picture.prompt}{negative}\n" + ", ".join(f"{key}: {_quoted(value)}" for key, value in pairs.items())


def _quoted(value: str) -> str:
    """A value with a comma, colon or line break is quoted as JSON."""
    return json.dumps(value, ensure_ascii=False) if any(sign in value for sign in ",:\n") else value
