"""An explicit binding: what somebody says about a LoRA instead of leaving it to the prompt."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from clora_ext.errors import BindingError, shown
from clora_ext.prompt.bindings.own_mask import LARGEST, MASK_WAYS, MaskWay, picture_bytes
from clora_ext.prompt.grammar.lexer import split_words
from clora_ext.prompt.grammar.tags import TAG_PATTERN

Role = Literal["subject", "style", "style_on"]
"""What a LoRA draws: a subject, the style of the whole picture, or the style of one subject."""

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Binding:
    """What somebody said about one LoRA. A field that is ``None`` was left to the tag and the default binding."""

    lora: str
    weight: float | None = None
    """For text encoder and UNet alike; a tag may give each its own."""
    subject: str | None = None
    """Words that stand in the prompt."""
    occurrence: int | None = None
    """Which of the places where those words stand, from 1."""
    trigger: str | None = None
    """Words put before the subject in its own branch if they do not stand there; empty for none at all."""
    role: Role | None = None
    on: str | None = None
    """For ``style_on``: the subject's LoRA or its words."""
    mask: str | None = None
    """A picture in base64, white where the subject is to be."""
    mask_way: MaskWay | None = None
    """How the mask counts beside attention's; ``fixed`` where nobody said."""

    def __post_init__(self) -> None:
        """Raise ``BindingError`` with the first field that has a value which it can not have."""
        for name, accepts, wanted in _CHECKS:
            value = getattr(self, name)
            if value is not None and not accepts(value):
                msg = f"“{name}” is {shown(value)}; it must be {wanted}."
                raise BindingError(msg, field=name)
        if self.mask_way is not None and self.mask is None:
            msg = f"“mask_way” is {self.mask_way!r}, but there is no “mask”; give one, or leave “mask_way” out."
            raise BindingError(msg, field="mask_way")


LONGEST_TEXT = 1000
"""Characters of one field of a binding."""

BINDING_FIELDS = tuple(known.name for known in fields(Binding))
"""The fields of a binding, in the order in which they are written."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_short(text: str) -> bool:
    return len(text) <= LONGEST_TEXT


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_name(text: str) -> bool:
    return bool(text.strip())


def _is_count(number: int) -> bool:
    return number >= 1


def _is_role(text: str) -> bool:
    return text in ROLES


def _is_way(text: str) -> bool:
    return text in MASK_WAYS


def _is_picture(text: str) -> bool:
    return bool(picture_bytes(text))


def _has_words(text: str) -> bool:
    return bool(split_words(text))


def _is_trigger(text: str) -> bool:
    if not text:
        return True
    return _has_words(text) and not TAG_PATTERN.search(text) and _closes_brackets(text)


def _closes_brackets(text: str) -> bool:
    """Whether every bracket is closed by one of its kind."""
    openings = ""
    for sign in re.findall(r"\\.|[()\[\]]", text):
        if sign in ("(", "["):
            openings += sign
        elif sign in (")", "]"):
            opening = {")": "(", "]": "["}[sign]
            if openings[-1:] != opening:
                return False
            openings = openings[:-1]
    return not openings


_TEXTS = ("lora", "subject", "trigger", "on")
_CHECKS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("lora", _is_text, "text"),
    ("subject", _is_text, "text"),
    ("trigger", _is_text, "text"),
    ("role", _is_text, "text"),
    ("on", _is_text, "text"),
    ("mask", _is_text, "text"),
    ("mask_way", _is_text, "text"),
    ("weight", _is_number, "a number"),
    ("occurrence", _is_whole_number, "a whole number from 1"),
    *((name, _is_short, f"text of at most {LONGEST_TEXT:,} characters") for name in _TEXTS),
    ("lora", _is_name, "the name of a LoRA"),
    ("weight", math.isfinite, "a number"),
    ("occurrence", _is_count, "a whole number from 1"),
    ("role", _is_role, f"one of {', '.join(ROLES)}"),
    ("subject", _has_words, "words of the prompt"),
    ("on", _has_words, "the LoRA or the words of a subject"),
    ("mask", _is_picture, f"a picture in base64 of at most {LARGEST // 2**20} MB"),
    ("mask_way", _is_way, f"one of {', '.join(MASK_WAYS)}"),
    ("trigger", _is_trigger, "words, with every bracket closed and no tag, or empty"),
)
"""A field, whether it can have a value, and what the value must be: all types first, then all values."""
