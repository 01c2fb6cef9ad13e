"""What the host itself was asked for in a job, as plain data."""

from typing import Any

_TOLD = ("sampler_name", "scheduler", "steps", "width", "height", "cfg_scale", "batch_size", "n_iter")
_SOMETIMES = ("denoising_strength", "inpaint_full_res", "refiner_switch_at")
"""Those that a job has by its kind, and only where they say something."""
_HIRES = ("hr_scale", "hr_upscaler", "hr_sampler_name", "hr_second_pass_steps")


def told_sampling(p: Any) -> dict[str, Any]:
    """The host's settings of job ``p`` by their names there."""
    told = {name: getattr(p, name, None) for name in _TOLD}
    names = (*_SOMETIMES, *(_HIRES if getattr(p, "enable_hr", False) else ()))
    more = {name: getattr(p, name, None) for name in names}
    return {"kind": type(p).__name__, **told, **{name: value for name, value in more.items() if value}}


def told_prompts(p: Any) -> tuple[str, ...]:
    """All prompts of job ``p``, once each, the negative ones and those of hires. fix too."""
    found: list[str] = []
    for name in ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt"):
        texts = getattr(p, name, "") or ""
        found += [texts] if isinstance(texts, str) else texts
    return tuple(dict.fromkeys(text for text in found if text))
