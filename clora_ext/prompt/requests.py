"""Explicit bindings: what somebody says about a LoRA instead of leaving it to the prompt."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from clora_ext.errors import BindingError
from clora_ext.prompt.tags import TAG
from clora_ext.prompt.words import split

Role = Literal["subject", "style", "style_on"]
ROLES: tuple[Role, ...] = get_args(Role)


def _is_trigger(text: str) -> bool:
    return not text or (bool(split(text)) and not TAG.search(text) and _balanced(text))


def _balanced(text: str) -> bool:
    """Whether every bracket is closed by one of its kind."""
    open_signs = ""
    for sign in re.findall(r"\\.|[()\[\]]", text):
        if sign in "([":
            open_signs += sign
        elif sign in (")", "]"):
            if open_signs[-1:] != {")": "(", "]": "["}[sign]:
                return False
            open_signs = open_signs[:-1]
    return not open_signs


_TYPES: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
    *((name, str, "text") for name in ("lora", "subject", "trigger", "role", "on")),
    ("weight", (int, float), "a number"),
    ("occurrence", int, "a whole number from 1"),
)
_VALUES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("lora", lambda name: bool(name.strip()), "the name of a LoRA"),
    ("weight", math.isfinite, "a number"),
    ("occurrence", lambda number: number >= 1, "a whole number from 1"),
    ("role", lambda role: role in ROLES, f"one of {', '.join(ROLES)}"),
    ("subject", lambda text: bool(split(text)), "words of the prompt"),
    ("on", lambda text: bool(split(text)), "the LoRA or the words of a subject"),
    ("trigger", _is_trigger, "words, with every bracket closed and no tag, or empty"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody said about one LoRA; a field that is ``None`` was left to the tag and the default binding."""

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

    def __post_init__(self) -> None:
        """Raise ``BindingError`` naming the first field that can not be."""
        for name, kind, wanted in _TYPES:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                raise _error(name, value, wanted)
        for name, possible, wanted in _VALUES:
            value = getattr(self, name)
            if value is not None and not possible(value):
                raise _error(name, value, wanted)


FIELDS = tuple(known.name for known in fields(Request))


def read_requests(value: object) -> tuple[Request, ...]:
    """Bindings from parsed JSON, a list of objects. Raises ``BindingError`` naming the entry and the field."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        msg = f"“bindings” is {value!r}; it must be a list of objects with the fields {', '.join(FIELDS)}."
        raise BindingError(msg, field="bindings")
    return tuple(located(f"bindings[{index}]", index, entry) for index, entry in enumerate(value))


def located(place: str, index: int, entry: object) -> Request:
    """The request in ``entry``; errors say where it stands."""
    try:
        if isinstance(entry, BindingError):
            raise entry
        return _from_mapping(entry)
    except BindingError as problem:
        field = f"bindings[{index}]" + (f".{problem.field}" if problem.field else "")
        msg = f"{place[0].upper()}{place[1:]}: {problem.message}" if "[" not in place else f"{place}: {problem.message}"
        raise BindingError(msg, field=field) from None


def _from_mapping(entry: object) -> Request:
    if not isinstance(entry, Mapping):
        msg = f"A binding is {entry!r}; it must be an object with the fields {', '.join(FIELDS)}."
        raise BindingError(msg)
    for name in entry:
        if name not in FIELDS:
            msg = f"There is no field “{name}” in a binding; the fields are {', '.join(FIELDS)}."
            raise BindingError(msg, field=str(name))
    if entry.get("lora") is None:
        msg = "A binding has no “lora”; name the LoRA it is for."
        raise BindingError(msg, field="lora")
    return Request(**entry)


def _error(name: str, value: object, wanted: str) -> BindingError:
    return BindingError(f"“{name}” is {value!r}; it must be {wanted}.", field=name)
