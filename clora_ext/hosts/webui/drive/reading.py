"""A prompt as a job reads it: with styles, without comments, and with what the host adds."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from modules import extensions, script_callbacks, shared

from clora_ext.hosts.webui.drive.catalogue import builtin
from clora_ext.prompt import Binding, find_tags
from clora_ext.prompt.grammar.tags import LORA_TAG_KINDS, OUR_TAG_ARGUMENTS, TAG_PATTERN, WEBUI_TAG_ARGUMENTS

_DRAWN = re.compile(r"\{[^{}|]*\|[^{}]*\}|__[^\s_][^\n]*?__|\$\{|<(?:ppp|wildcard|choose|random)\b")
"""Alternatives, wildcards, variables and commands of the extensions in ``_DRAWERS``."""

_DRAWERS = ("dynamic-prompts", "wildcard", "prompt-postprocessor", "unprompted", "randomizer")
"""Parts of the names of extensions that put other words in a prompt when a job starts."""

_WEIGHING = ("lbw", "lbwe", "w", "x", "start", "stop", "step")
"""Arguments by which LoRA Block Weight changes the matrices of a network, and its strength while it samples."""

_OURS = tuple(f"{name}=" for name in OUR_TAG_ARGUMENTS)
_WEIGHED = "_in_LBW_"
"""What it puts in the name of a network that it has changed."""


def as_job_reads(prompt: str, styles: Sequence[str]) -> str:
    """The prompt as the host makes it: styles first, then what WebUI and extensions take out, then its own LoRA.

    The token counter goes the same way (modules/ui.py, update_token_counter).
    """
    styled = shared.prompt_styles.apply_styles_to_prompt(prompt, styles)
    params = script_callbacks.BeforeTokenCounterParams(styled, 1, list(styles))
    script_callbacks.before_token_counter_callback(params)
    name = shared.opts.sd_lora
    if name not in builtin().available_networks or name in _names(params.prompt):
        return params.prompt
    return f"{params.prompt}<lora:{name}:{shared.opts.extra_networks_default_multiplier}>"


def added_by_host(prompt: str, bindings: Sequence[Binding]) -> list[Binding]:
    """The LoRA that the setting “Add network to prompt” puts on everything is a style, unless it is bound by hand."""
    name = shared.opts.sd_lora
    if name == "None" or name in {binding.lora for binding in bindings} or not prompt.rstrip().endswith(">"):
        return []
    return [Binding(name, role="style")] if name in _names(prompt) else []


def drawn_later(prompt: str) -> str | None:
    """The extension that draws parts of ``prompt`` when the job starts, by its name; None where there are none."""
    if not _DRAWN.search(prompt):
        return None
    names = [extension.name for extension in extensions.active()]
    return next((name for name in names if any(part in name.lower() for part in _DRAWERS)), None)


def hidden_loras(prompt: str, read: str) -> tuple[str, ...]:
    """The LoRAs that ``prompt`` names and that are not in what was ``read`` of it, for they stand in a comment."""
    left = _names(read)
    return tuple(name for name in _names(prompt) if name not in left)


def unread_arguments(prompts: Sequence[str], nets: Mapping[str, Any]) -> list[str]:
    """Notes of arguments of the tags of bound LoRAs that change nothing; ``nets`` are the host's networks by name."""
    notes: dict[str, None] = {}
    for prompt in prompts:
        for tag in find_tags(prompt):
            weighed = _WEIGHED in nets[tag.name].name if tag.name in nets else False
            known = {*OUR_TAG_ARGUMENTS, *WEBUI_TAG_ARGUMENTS, *(_WEIGHING if weighed else ())}
            unread = ", ".join(f"{name}=" for name in tag.arguments if name not in known)
            if unread:
                notes[f"“{unread}” of LoRA {tag.name} does nothing: nothing that reads it reaches a bound LoRA"] = None
    return list(notes)


def told_in_tags(prompts: Sequence[str]) -> list[str]:
    """The LoRAs of whose subject or role a tag in ``prompts`` says something, once each, also in bad tags."""
    tags = [match[2].split(":") for prompt in prompts for match in TAG_PATTERN.finditer(prompt)]
    found = [tag[0] for tag in tags if any(item.startswith(_OURS) for item in tag)]
    return list(dict.fromkeys(found))


def _names(prompt: str) -> list[str]:
    """The LoRAs that ``prompt`` names, once each, also by tags that can not be read."""
    matches = TAG_PATTERN.finditer(prompt)
    names = [match[2].split(":")[0] for match in matches if match[1] in LORA_TAG_KINDS]
    return list(dict.fromkeys(names))
