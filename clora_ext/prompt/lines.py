"""Bindings as a panel's text, one line for each."""

import json
import re
from collections.abc import Sequence
from typing import Any

from clora_ext.errors import BindingError
from clora_ext.prompt.requests import FIELDS, Request, located, read_requests

_BARE = re.compile(r"[^,:=\"#\n\r\[{]+")
_ITEM = re.compile(r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<bare>[^,=#"\s][^,=#"]*))\s*')
_LORA = re.compile(r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<bare>[^:"]*))\s*:')


def parse_requests(text: str) -> tuple[Request, ...]:
    """Bindings from a panel's text: one ``LoRA: subject`` line each, or a JSON list of objects.

    After the colon: ``cat``, ``dog #2`` (the second one), ``style`` or ``style on cat``, then ``field=value`` pairs
    set off by commas. A value holding ``, : = # "`` is quoted as in JSON. Raises ``BindingError`` naming the line.
    """
    if text.lstrip().startswith("["):
        try:
            value = json.loads(text)
        except json.JSONDecodeError as problem:
            msg = f"The bindings start like a JSON list but are none: {problem}. Write one “LoRA: subject” per line."
            raise BindingError(msg, field="bindings") from None
        return read_requests(value)
    lines = [(number, line) for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1) if line.strip()]
    return tuple(located(f"line {number}", index, _read_line(line)) for index, (number, line) in enumerate(lines))


def format_requests(requests: Sequence[Request]) -> str:
    """One line per binding, such that ``parse_requests`` gives the same back."""
    return "\n".join(_format(request) for request in requests)


def _read_line(line: str) -> dict[str, Any] | BindingError:
    """One line as named fields; a problem is handed back so that the caller can say which line it is."""
    named = _LORA.match(line)
    if named is None:
        return BindingError(f"“{line.strip()}” has no colon; write “LoRA: subject”, for example “tuxcat: cat”.")
    try:
        values: dict[str, Any] = {"lora": _text(named)}
        position = named.end()
        first = True
        while line[position:].strip():
            position = _read_item(line, position, values, first=first)
            first = False
    except BindingError as problem:
        return problem
    return values


def _read_item(line: str, position: int, values: dict[str, Any], *, first: bool) -> int:
    """Read one part of a line, up to and with its comma, into ``values``; gives where the next part starts."""
    found = _ITEM.match(line, position)
    if found is None:
        msg = f"“{line[position:].strip()}” can not be read; write “subject #2, field=value”."
        raise BindingError(msg)
    rest = line[found.end() :]
    if rest.startswith("="):
        value = _ITEM.match(line, found.end() + 1)
        if value is None:
            msg = f'“{_text(found)}=” has no value; write one, or "" for an empty one.'
            raise BindingError(msg, field=_text(found))
        _set(values, _text(found), _number(_text(found), _text(value), quoted=value["quoted"] is not None))
        end = value.end()
    elif not first:
        msg = f"“{_text(found)}” is not a field; write field=value, the fields are {', '.join(FIELDS[1:])}."
        raise BindingError(msg)
    else:
        end = _read_what(line, found, values)
    if line[end:].strip() and line[end] != ",":
        msg = f"A comma is missing before “{line[end:].strip()}”."
        raise BindingError(msg)
    return end + 1


def _read_what(line: str, found: re.Match[str], values: dict[str, Any]) -> int:
    """``cat``, ``dog #2``, ``style``, ``style on cat``: gives where it ends."""
    end = found.end()
    text = _text(found)
    if found["quoted"] is not None:
        values["subject"] = text
    elif text == "style":
        values["role"] = "style"
    elif re.match(r"style\s+on\b", text):
        values["role"] = "style_on"
        on = re.sub(r"^style\s+on\s*", "", text)
        if not on:
            quoted = _ITEM.match(line, end)
            if quoted is None or quoted["quoted"] is None:
                msg = "“style on” names no subject; write for example “style on cat”."
                raise BindingError(msg, field="on")
            on, end = _text(quoted), quoted.end()
        values["on"] = on
    else:
        values["subject"] = text
    number = re.match(r"#\s*([^,]*?)\s*(?=,|$)", line[end:])
    if number:
        values["occurrence"] = _number("occurrence", number[1], quoted=False)
        end += number.end()
    return end


def _set(values: dict[str, Any], name: str, value: object) -> None:
    if name in values:
        msg = f"“{name}” is given twice."
        raise BindingError(msg, field=name)
    values[name] = value


def _number(name: str, text: str, *, quoted: bool) -> str | int | float:
    """The value of a field that takes a number; other fields stay text, and bad numbers are refused later."""
    kind = {"weight": float, "occurrence": int}.get(name)
    if kind is None or quoted:
        return text
    try:
        return kind(text)
    except ValueError:
        return text


def _text(found: re.Match[str]) -> str:
    if found["quoted"] is None:
        return found["bare"].strip()
    try:
        return str(json.loads(found["quoted"], strict=False))
    except json.JSONDecodeError:
        msg = f'{found["quoted"]} is not quoted as in JSON; write \\" for a quote and \\\\ for a backslash.'
        raise BindingError(msg) from None


def _format(request: Request) -> str:
    what: list[str] = []
    given = {name: getattr(request, name) for name in FIELDS[1:] if getattr(request, name) is not None}
    if "subject" in given:
        what.append(_quote(given.pop("subject")))
    elif request.role == "style_on" and request.on is not None:
        what.append(f"style on {_quote(given.pop('on'))}")
        given.pop("role")
    elif request.role == "style":
        what.append("style")
        given.pop("role")
    if what and "occurrence" in given:
        what[0] += f" #{given.pop('occurrence')}"
    pairs = [f"{name}={_quote(value) if isinstance(value, str) else repr(value)}" for name, value in given.items()]
    return f"{_quote(request.lora)}: {', '.join(what + pairs)}".rstrip()


def _quote(text: str) -> str:
    plain = _BARE.fullmatch(text) and text == text.strip() and not re.match(r"style(?:\s+on)?\b", text)
    return text if plain and text.isprintable() else json.dumps(text)
