"""WebUI's settings page: what is shown and saved beside the image, and how much memory composing may take."""

import logging
from collections.abc import Mapping
from typing import Any

import gradio as gr
from modules import shared

from clora_ext.settings import KNOB, PROFILES

LOG_LEVELS = ("debug", "info", "warning", "error")


def add_options() -> None:
    """Add the section CLoRA. Called once per start and per reload of the page."""
    section = ("clora", "CLoRA")
    level = shared.cmd_opts.clora_log_level
    options = {
        "clora_save_masks": shared.OptionInfo(
            default=False, label="Save the pictures of masks that are shown, beside the image", section=section
        ),
        "clora_preview_masks": shared.OptionInfo(
            default=False, label="Show the masks beside the live preview, as they form", section=section
        ),
        "clora_progress": shared.OptionInfo(
            default=True, label="Say in the progress text what composing does", section=section
        ),
        "clora_memory": shared.OptionInfo(
            KNOB["memory"].default, "Extra memory that composing may take, in GiB", gr.Number, section=section
        ).info("0 for as much as is free; a job that says its own and the profiles authors and paper keep theirs"),
        "clora_log_level": shared.OptionInfo(
            level, "How much CLoRA writes to the log", gr.Radio, {"choices": list(LOG_LEVELS)}, onchange=set_log_level,
            section=section,
        ),
    }  # fmt: skip
    for name, option in options.items():
        shared.opts.add_option(name, option)


def option(name: str) -> Any:
    """The value of ``clora_<name>``; its default where the settings page has not been made."""
    defaults = {
        "save_masks": False,
        "preview_masks": False,
        "progress": True,
        "memory": KNOB["memory"].default,
        "log_level": shared.cmd_opts.clora_log_level,
    }
    return getattr(shared.opts, f"clora_{name}", defaults[name])


def with_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An object of named fields with the settings page's values for what neither it nor its profile says."""
    profile = fields.get("profile", "balanced")
    said = PROFILES.get(profile, {}) if isinstance(profile, str) else {}
    return dict(fields) if "memory" in {*fields, *said} else {**fields, "memory": option("memory")}


def set_log_level() -> None:
    """Make the log as talkative as the settings say."""
    logging.getLogger("clora").setLevel(option("log_level").upper())
