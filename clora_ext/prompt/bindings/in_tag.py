"""A binding as arguments of a LoRA's tag: ``<lora:tuxcat:1:bind=cat:occurrence=2>``."""

from collections.abc import Mapping
from typing import Any

from clora_ext.errors import BindingError
from clora_ext.prompt.bindings.binding import Binding
from clora_ext.prompt.grammar.tags import Tag

TAG_ARGUMENTS: Mapping[str, str] = {
    "subject": "bind",
    "occurrence": "occurrence",
    "trigger": "trigger",
    "role": "role",
    "on": "on",
}
"""The name that a binding's field has in a tag."""


def read_tag_binding(tag: Tag) -> Binding:
    """The binding that the tag's own arguments make. Raises ``BindingError`` with the argument."""
    values: dict[str, Any] = {}
    for field, argument in TAG_ARGUMENTS.items():
        values[field] = read_argument(field, tag.arguments.get(argument))
    try:
        return Binding(tag.name, **values)
    except BindingError as problem:
        field = problem.field or ""
        argument = TAG_ARGUMENTS.get(field, field)
        value = tag.arguments.get(argument, "")
        msg = f"The tag of LoRA “{tag.name}” has “{argument}={value}”, but {problem.message}"
        raise BindingError(msg, field="prompt") from None


def read_argument(field: str, text: str | None) -> int | str | None:
    """``text`` as the field's value. What should be a number and is none stays text, which ``Binding`` refuses."""
    if field == "occurrence" and text and text.strip().isdecimal():
        return int(text)
    return text
