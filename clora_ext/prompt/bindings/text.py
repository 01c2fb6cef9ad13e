"""Bindings as the panel's text, one line for each."""

import json
import re
from collections.abc import Sequence
from typing import Any

from clora_ext.errors import BindingError
from clora_ext.prompt.bindings.binding import BINDING_FIELDS, Binding
from clora_ext.prompt.bindings.objects import locate_error, read_binding, read_bindings, require_few

LONGEST_BINDINGS = 50_000
"""Characters of the panel's text."""

_BARE = re.compile(r"[^,:=\"#\n\r\[{]+")
_ITEM = re.compile(r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<bare>[^,=#"\s][^,=#"]*))\s*')
_LORA = re.compile(r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<bare>[^:"]*))\s*:')
_NUMBER = re.compile(r"#\s*([^,]*?)\s*(?=,|$)")

_Values = dict[str, Any]
"""The fields of one line that were read so far."""


def parse_bindings(text: str) -> tuple[Binding, ...]:
    """Bindings from the panel's text: one ``LoRA: subject`` line each, or a JSON list of objects.

    After the colon: ``cat``, ``dog #2`` (the second one), ``style`` or ``style on cat``, then ``field=value`` pairs
    with commas between them. A value with ``, : = # "`` in it is quoted as in JSON. Raises ``BindingError`` with the
    line.
    """
    if len(text) > LONGEST_BINDINGS:
        msg = f"The bindings have {len(text):,} characters; CLoRA reads {LONGEST_BINDINGS:,} at most: shorten them."
        raise BindingError(msg, field="bindings")
    if text.lstrip().startswith("["):
        return read_bindings(_read_json(text))
    bindings: list[Binding] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not line.strip():
            continue
        try:
            bindings.append(read_binding(_read_line(line)))
        except BindingError as problem:
            raise locate_error(problem, f"Line {number}", len(bindings)) from None
    return require_few(bindings)


def format_bindings(bindings: Sequence[Binding]) -> str:
    """One line per binding. ``parse_bindings`` reads the same bindings from it."""
    return "\n".join(_format(binding) for binding in bindings)


def _read_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        msg = f"The bindings start like a JSON list but are none: {problem}. Write one “LoRA: subject” per line."
        raise BindingError(msg, field="bindings") from None


def _read_line(line: str) -> _Values:
    """One line as named fields."""
    lora = _LORA.match(line)
    if lora is None:
        msg = f"“{line.strip()}” has no colon; write “LoRA: subject”, for example “tuxcat: cat”."
        raise BindingError(msg)
    values: _Values = {"lora": _read_text(lora)}
    position = lora.end()
    first = True
    while line[position:].strip():
        position = _read_item(line, position, values, first=first)
        first = False
    return values


def _read_item(line: str, position: int, values: _Values, *, first: bool) -> int:
    """Read the part of a line at ``position`` into ``values``; gives where the next part starts, after the comma."""
    item = _ITEM.match(line, position)
    if item is None:
        msg = f"“{line[position:].strip()}” can not be read; write “subject #2, field=value”."
        raise BindingError(msg)
    if line.startswith("=", item.end()):
        end = _read_pair(line, item, values)
    elif first:
        end = _read_subject(line, item, values)
    else:
        text = _read_text(item)
        msg = f"“{text}” is not a field; write field=value, the fields are {', '.join(BINDING_FIELDS[1:])}."
        raise BindingError(msg)
    rest = line[end:].strip()
    if rest and line[end] != ",":
        msg = f"A comma is missing before “{rest}”."
        raise BindingError(msg)
    return end + 1


def _read_pair(line: str, item: re.Match[str], values: _Values) -> int:
    """``field=value``, where ``item`` is the field; gives where it ends."""
    name = _read_text(item)
    value = _ITEM.match(line, item.end() + 1)
    if value is None:
        msg = f'“{name}=” has no value; write one, or "" for an empty one.'
        raise BindingError(msg, field=name)
    text = _read_text(value)
    if name in values:
        msg = f"“{name}” is given twice."
        raise BindingError(msg, field=name)
    quoted = value["quoted"] is not None
    values[name] = text if quoted else _read_number(name, text)
    return value.end()


def _read_subject(line: str, item: re.Match[str], values: _Values) -> int:
    """``cat``, ``dog #2``, ``style``, ``style on cat``, where ``item`` is the words; gives where it ends."""
    end = item.end()
    text = _read_text(item)
    quoted = item["quoted"] is not None
    if not quoted and text == "style":
        values["role"] = "style"
    elif not quoted and re.match(r"style\s+on\b", text):
        values["role"] = "style_on"
        values["on"], end = _read_on(line, item)
    else:
        values["subject"] = text
    number = _NUMBER.match(line[end:])
    if number:
        values["occurrence"] = _read_number("occurrence", number[1])
        end += number.end()
    return end


def _read_on(line: str, item: re.Match[str]) -> tuple[str, int]:
    """The subject after ``style on``, bare or quoted, and where it ends."""
    text = _read_text(item)
    bare = re.sub(r"^style\s+on\s*", "", text)
    if bare:
        return bare, item.end()
    quoted = _ITEM.match(line, item.end())
    if quoted is None or quoted["quoted"] is None:
        msg = "“style on” names no subject; write for example “style on cat”."
        raise BindingError(msg, field="on")
    return _read_text(quoted), quoted.end()


def _read_number(name: str, text: str) -> str | int | float:
    """The value of a field that takes a number. Other fields stay text, and bad numbers are refused later."""
    try:
        if name == "weight":
            return float(text)
        if name == "occurrence":
            return int(text)
    except ValueError:
        return text
    return text


def _read_text(match: re.Match[str]) -> str:
    """What a name or a value says: bare, or quoted as in JSON."""
    quoted = match["quoted"]
    if quoted is None:
        return match["bare"].strip()
    try:
        return str(json.loads(quoted, strict=False))
    except json.JSONDecodeError:
        msg = f'{quoted} is not quoted as in JSON; write \\" for a quote and \\\\ for a backslash.'
        raise BindingError(msg) from None


def _format(binding: Binding) -> str:
    given = {name: getattr(binding, name) for name in BINDING_FIELDS[1:]}
    given = {name: value for name, value in given.items() if value is not None}
    parts: list[str] = []
    if binding.subject is not None:
        parts.append(_quote(given.pop("subject")))
    elif binding.role == "style_on" and binding.on is not None:
        parts.append(f"style on {_quote(given.pop('on'))}")
        given.pop("role")
    elif binding.role == "style":
        parts.append("style")
        given.pop("role")
    if parts and "occurrence" in given:
        parts[0] += f" #{given.pop('occurrence')}"
    for name, value in given.items():
        written = _quote(value) if isinstance(value, str) else repr(value)
        parts.append(f"{name}={written}")
    line = f"{_quote(binding.lora)}: {', '.join(parts)}"
    return line.rstrip()


def _quote(text: str) -> str:
    """``text`` as it is where it would be read the same, else quoted as in JSON."""
    if not text.isprintable() or text != text.strip():
        return json.dumps(text)
    if not _BARE.fullmatch(text) or re.match(r"style(?:\s+on)?\b", text):
        return json.dumps(text)
    return text
