"""WebUI's settings page: what is shown and saved beside the image, and how much memory composing may take."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import gradio as gr
from modules import shared

from clora_ext.settings.profiles import BALANCED, DEFAULT, PROFILES

LOG_LEVELS = ("debug", "info", "warning", "error")
SECTION = ("clora", "CLoRA")


def add_options() -> None:
    """Add the section CLoRA. Called once per start and per reload of the page."""
    level = shared.cmd_opts.clora_log_level
    memory = shared.OptionInfo(
        BALANCED.memory, "Extra memory that composing may take, in GiB", gr.Number, section=SECTION
    )
    memory.info(
        "more where much is free (the setting “Share of free memory”); 0 for as much as is free; a job that says its "
        "own and the profiles authors and paper keep theirs"
    )
    replay = _switch("Replay the late steps of a composed picture without Python (CUDA graphs)", default=False)
    replay.info("NVIDIA only; faster where the GPU waits for Python; takes as much memory again as a step")
    options = {
        "save_masks": _switch("Save the pictures of masks that are shown, beside the image", default=False),
        "preview_masks": _switch("Show the masks beside the live preview, as they form", default=False),
        "redraw": _switch(
            "Redraw a part of a composed picture (ADetailer and the like) with its subject's LoRA alone", default=True
        ),
        "progress": _switch("Say in the progress text what composing does", default=True),
        "memory": memory,
        "replay": replay,
        "log_level": shared.OptionInfo(
            level, "How much CLoRA writes to the log", gr.Radio, {"choices": list(LOG_LEVELS)}, onchange=set_log_level,
            section=SECTION,
        ),
    }  # fmt: skip
    for name, entry in options.items():
        shared.opts.add_option(f"clora_{name}", entry)


def _switch(label: str, *, default: bool) -> Any:
    return shared.OptionInfo(default=default, label=label, section=SECTION)


def option(name: str) -> Any:
    """The value of ``clora_<name>``; its default where the settings page has not been made."""
    defaults = {
        "save_masks": False,
        "preview_masks": False,
        "redraw": True,
        "progress": True,
        "memory": BALANCED.memory,
        "replay": False,
        "log_level": shared.cmd_opts.clora_log_level,
    }
    return getattr(shared.opts, f"clora_{name}", defaults[name])


def keep_option(name: str, value: Any) -> Any:
    """Set and keep ``clora_<name>`` as the settings page does; gives what it is now, which frozen settings decide."""
    with suppress(AssertionError):  # --freeze-settings and the like
        if shared.opts.set(f"clora_{name}", value):
            shared.opts.save(shared.config_filename)
    return option(name)


def with_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An object of named fields with the settings page's values for what neither it nor its profile says."""
    profile = fields.get("profile", DEFAULT)
    known = PROFILES.get(profile) if isinstance(profile, str) else None
    profile_says = known is not None and known.memory != BALANCED.memory
    if "memory" in fields or profile_says:
        return dict(fields)
    return {**fields, "memory": option("memory")}


def set_log_level() -> None:
    """Make the log as talkative as the settings say."""
    level: str = option("log_level")
    logging.getLogger("clora").setLevel(level.upper())
