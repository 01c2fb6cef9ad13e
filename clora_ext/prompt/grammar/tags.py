"""LoRA tags in a prompt, read with the grammar of WebUI's extra networks: ``<lora:name:te:unet:dyn>``."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

from clora_ext.errors import PromptError
from clora_ext.prompt.grammar.spans import Span

TAG_PATTERN = re.compile(r"<(\w+):([^>]+)>")
"""Any extra-network tag, as WebUI 1.10.1 finds it (modules/extra_networks.py)."""

_ENDING = re.compile(r"\.(?:safetensors|ckpt|pt)$")

LORA_TAG_KINDS = ("lora", "lyco")
"""The tag words that WebUI's built-in Lora answers to. It takes other tags out of the text as well."""

LONGEST_PROMPT = 20_000
"""Characters that are read: some 5,000 tokens."""

OUR_TAG_ARGUMENTS = ("bind", "occurrence", "trigger", "role", "on")
"""Named arguments that WebUI ignores and we read."""

WEBUI_TAG_ARGUMENTS = ("te", "unet", "dyn")
"""Named arguments that WebUI reads."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One LoRA tag."""

    kind: Literal["lora", "lyco"]
    name: str
    te: float
    """Weight of the text encoder's part."""
    unet: float
    """Weight of the UNet's part."""
    dyn: int | None
    """Rank to keep, from 1; ``None`` for all."""
    arguments: Mapping[str, str] = field(hash=False)
    """All ``name=value`` arguments, those of other extensions too."""
    span: Span = (0, 0)
    """Its characters in the prompt that it was read from."""


@dataclass(frozen=True, slots=True)
class _Arguments:
    """What stands between the colons of ``tag``."""

    tag: str
    positional: list[str]
    named: dict[str, str]

    def find(self, name: str, position: int) -> str | None:
        """The text of an argument. A named one wins over its position, as in WebUI."""
        if name in self.named:
            return self.named[name]
        if position < len(self.positional):
            return self.positional[position]
        return None


def find_tags(prompt: str) -> tuple[Tag, ...]:
    """All LoRA tags of ``prompt``, in order. Raises ``PromptError`` with the tag that can not be read.

    Whoever reads a prompt asks for its tags first, so a prompt that is too long is refused here.
    """
    if len(prompt) > LONGEST_PROMPT:
        msg = f"The prompt has {len(prompt):,} characters; CLoRA reads {LONGEST_PROMPT:,} at most: shorten it."
        raise PromptError(msg, field="prompt")
    matches = TAG_PATTERN.finditer(prompt)
    return tuple(_read_tag(match) for match in matches if match[1] in LORA_TAG_KINDS)


def remove_tags(prompt: str) -> str:
    """``prompt`` without extra-network tags of any kind, as WebUI leaves it: nothing else is altered."""
    return TAG_PATTERN.sub("", prompt)


def lora_key(name: str) -> str:
    """What names of LoRAs are compared by: the file's, without folder, ending and capitals.

    >>> lora_key("animals/TuxCat.safetensors")
    'tuxcat'
    """
    file = re.split(r"[/\\]", name.strip())[-1]
    return _ENDING.sub("", file.casefold())


def map_position(prompt: str, position: int) -> int:
    """Where ``position`` of ``prompt``, the start or end of a tag, lies in ``remove_tags(prompt)``."""
    before = prompt[:position]
    return len(remove_tags(before))


def _read_tag(match: re.Match[str]) -> Tag:
    arguments = _split_arguments(match)
    if not arguments.positional or not arguments.positional[0].strip():
        msg = f"The tag {match[0]} names no LoRA; write <{match[1]}:name:1>."
        raise PromptError(msg, field="prompt")
    te = _read_weight(arguments, "te", 1, default=1.0)
    unet = _read_weight(arguments, "unet", 2, default=te)
    dyn = _read_dyn(arguments)
    return Tag(
        kind="lyco" if match[1] == "lyco" else "lora",
        name=arguments.positional[0],
        te=te,
        unet=unet,
        dyn=dyn,
        arguments=MappingProxyType(arguments.named),
        span=match.span(),
    )


def _split_arguments(match: re.Match[str]) -> _Arguments:
    arguments = _Arguments(match[0], [], {})
    for item in match[2].split(":"):
        parts = item.split("=", 2)  # as WebUI: two equal signs make a positional argument again
        if len(parts) == 2:
            name, value = parts
            _check_name(match[0], name)
            arguments.named[name] = value
        else:
            arguments.positional.append(item)
    return arguments


def _read_dyn(arguments: _Arguments) -> int | None:
    text = arguments.find("dyn", 3)
    if text is None:
        return None
    if not re.fullmatch(r"\s*[1-9]\d*\s*", text):
        msg = f"The tag {arguments.tag} has dyn “{text}”; it must be a whole number from 1, the rank to keep."
        raise PromptError(msg, field="prompt")
    return int(text)


def _read_weight(arguments: _Arguments, name: str, position: int, *, default: float) -> float:
    """The weight ``name`` as a finite number, or ``default`` where the tag has none."""
    text = arguments.find(name, position)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        msg = f"The tag {arguments.tag} has {name} weight “{text}”; it must be a number, for example 0.8."
        raise PromptError(msg, field="prompt")
    return value


def _check_name(tag: str, name: str) -> None:
    """Refuse a misspelt argument of ours. Those of other extensions (lbw, start, stop) pass."""
    known = (*OUR_TAG_ARGUMENTS, *WEBUI_TAG_ARGUMENTS)
    if name in known:
        return
    typed = name.strip().lower()
    near = get_close_matches(typed, known, n=1, cutoff=0.7)
    if near:
        msg = f"The tag {tag} has “{name}=”; did you mean “{near[0]}=”? We read {', '.join(known)}."
        raise PromptError(msg, field="prompt")
