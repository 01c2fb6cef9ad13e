"""LoRA tags in a prompt, read with the grammar of WebUI's extra networks: ``<lora:name:te:unet:dyn>``."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

from clora_ext.errors import PromptError

TAG = re.compile(r"<(\w+):([^>]+)>")
"""Any extra-network tag, as WebUI 1.10.1 finds it (modules/extra_networks.py)."""

KINDS = ("lora", "lyco")
"""The tag words that WebUI's built-in Lora answers to; it strips other tags from the text as well."""

OURS = ("bind", "occurrence", "trigger", "role", "on")
"""Named arguments that WebUI ignores and we read."""

WEBUIS = ("te", "unet", "dyn")
"""Named arguments that WebUI reads."""

Span = tuple[int, int]
"""A half-open range of characters of a text."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One LoRA tag; ``span`` is its place in the prompt it was read from."""

    kind: Literal["lora", "lyco"]
    name: str
    te: float
    unet: float
    dyn: int | None
    named: Mapping[str, str] = field(hash=False)
    span: Span = (0, 0)


def find_tags(prompt: str) -> tuple[Tag, ...]:
    """All LoRA tags of ``prompt``, in order. Raises ``PromptError`` naming a tag that can not be read."""
    return tuple(_read(found) for found in TAG.finditer(prompt) if found[1] in KINDS)


def remove_tags(prompt: str) -> str:
    """``prompt`` without extra-network tags of any kind, exactly as WebUI leaves it: nothing else is altered."""
    return TAG.sub("", prompt)


def anchor(prompt: str, position: int) -> int:
    """Where ``position`` of ``prompt``, the start or end of a tag, lies in ``remove_tags(prompt)``."""
    return len(remove_tags(prompt[:position]))


def _read(found: re.Match[str]) -> Tag:
    positional: list[str] = []
    named: dict[str, str] = {}
    for item in found[2].split(":"):
        parts = item.split("=", 2)  # as WebUI: two equal signs make a positional argument again
        if len(parts) == 2:
            _check_name(found[0], parts[0])
            named[parts[0]] = parts[1]
        else:
            positional.append(item)
    if not positional or not positional[0].strip():
        msg = f"The tag {found[0]} names no LoRA; write <{found[1]}:name:1>."
        raise PromptError(msg, field="prompt")
    te = _number(found[0], "te", named, positional, 1)
    return Tag(
        kind="lyco" if found[1] == "lyco" else "lora",
        name=positional[0],
        te=1.0 if te is None else te,
        unet=_unet(found[0], named, positional, 1.0 if te is None else te),
        dyn=_dyn(found[0], named, positional),
        named=MappingProxyType(named),
        span=found.span(),
    )


def _unet(tag: str, named: Mapping[str, str], positional: list[str], te: float) -> float:
    """The UNet's weight, which is the text encoder's unless the tag says otherwise."""
    unet = _number(tag, "unet", named, positional, 2)
    return te if unet is None else unet


def _dyn(tag: str, named: Mapping[str, str], positional: list[str]) -> int | None:
    text = named.get("dyn", positional[3] if len(positional) > 3 else None)
    if text is None:
        return None
    if not re.fullmatch(r"\s*[1-9]\d*\s*", text):
        msg = f"The tag {tag} has dyn “{text}”; it must be a whole number from 1, the rank to keep."
        raise PromptError(msg, field="prompt")
    return int(text)


def _number(tag: str, key: str, named: Mapping[str, str], positional: list[str], index: int) -> float | None:
    """The weight ``key`` as a finite number; a named argument wins over its position, as in WebUI."""
    text = named.get(key, positional[index] if len(positional) > index else None)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        msg = f"The tag {tag} has {key} weight “{text}”; it must be a number, for example 0.8."
        raise PromptError(msg, field="prompt")
    return value


def _check_name(tag: str, name: str) -> None:
    """Refuse a misspelt argument of ours; those of other extensions (lbw, start, stop) pass."""
    known = (*OURS, *WEBUIS)
    if name in known:
        return
    near = get_close_matches(name.strip().lower(), known, n=1, cutoff=0.7)
    if near:
        msg = f"The tag {tag} has “{name}=”; did you mean “{near[0]}=”? We read {', '.join(known)}."
        raise PromptError(msg, field="prompt")
