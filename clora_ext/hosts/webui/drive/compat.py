"""Which host this is, asked once at start."""

from importlib.util import find_spec


def unsupported_host() -> str | None:
    """Why this program can not run the extension at all, in a sentence, or None."""
    if find_spec("modules_forge") is not None:
        return "CLoRA does not run on Forge or reForge, whose denoiser has no hooks for it; use AUTOMATIC1111 1.10.1."
    if find_spec("modules.sd_samplers_diffusers") is not None:
        return "CLoRA does not run on SD.Next, whose pipelines it can not join; use AUTOMATIC1111 1.10.1."
    from modules import script_callbacks, scripts

    has_sampling_hook = hasattr(scripts.Script, "process_before_every_sampling")
    if not has_sampling_hook or not hasattr(script_callbacks, "on_cfg_after_cfg"):
        return "CLoRA needs WebUI 1.10 or newer; update AUTOMATIC1111."
    return None
