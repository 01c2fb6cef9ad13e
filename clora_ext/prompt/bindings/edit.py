"""A change of a binding: weights are written into the LoRA's tag, all else into a binding beside the prompt.

WebUI's cards and other extensions know tags of a name and weights; arguments of ours in them are lost on those
(javascript/extraNetworks.js, ``re_extranet``). Only where a file has several tags, each keeps what it says.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clora_ext.prompt.bindings.binding import BINDING_FIELDS, Binding
from clora_ext.prompt.bindings.in_tag import TAG_ARGUMENTS, read_argument
from clora_ext.prompt.grammar.edits import TextEdit, apply_edits
from clora_ext.prompt.grammar.tags import LORA_TAG_KINDS, OUR_TAG_ARGUMENTS, TAG_PATTERN, find_tags, lora_key

Bindings = tuple[Binding, ...]
BREAKS = ("", " ", ",", ".", ";", "\n", "<")
"""Before these no space is left over where a tag is taken out."""


@dataclass(frozen=True, slots=True)
class Shared:
    """One of several subjects that share their LoRA's tag, so that a change of it is none of the tag."""

    line: int | None
    """Which of the bindings says it; ``None`` where it was found by itself."""
    says: Binding
    """What a binding has to say to mean it."""
    part: str | None = None
    """Of a merged file, the trigger by which it was found."""
    tagged: bool = True
    """Whether there is a tag at all."""
    merged: bool = False
    """Whether the LoRA finds its subjects by itself, where nobody says them."""


def edit_shared(bindings: Sequence[Binding], shared: Shared, changes: Mapping[str, Any]) -> Bindings:
    """Change what is said of one of several subjects, in a binding of its own.

    Where its words are changed, the trigger by which it was found stays its own; where they are taken back in a merged
    file, so is all of the line, which would be about the other subjects then. Raises ``BindingError`` for a value that
    a field can not have.
    """
    lora, subject = shared.says.lora, changes.get("subject", "")
    line = bindings[shared.line] if shared.line is not None and shared.line < len(bindings) else None
    own = line if line is not None and lora_key(line.lora) == lora_key(lora) else shared.says
    if subject is None and (shared.merged or own is shared.says):
        return _put(bindings, own, replace(Binding(lora), **changes), tagged=shared.tagged)
    is_moved = own is shared.says and subject and subject.casefold() != (own.subject or "").casefold()
    kept = {"trigger": shared.part} if is_moved else {}
    return _put(bindings, own, replace(own, **(kept | dict(changes))), tagged=shared.tagged)


def edit_binding(
    prompt: str, bindings: Sequence[Binding], names: Collection[str], changes: Mapping[str, Any], number: int = 0
) -> tuple[TextEdit | None, Bindings]:
    """Change what is said of one LoRA, known by any of ``names``; gives the edit of its tag and the new bindings.

    ``changes`` are new values by field; ``None`` takes a field back. ``number`` counts the LoRA's subjects, from 0.
    The weight is written in the tag, unless a binding has one or there is no tag. All else is written in a binding,
    which takes over what the tag says; where a file has a tag for each of several subjects it stays there, if a tag can
    hold it (no ``:``, ``>``, ``=`` and line breaks). Raises ``BindingError`` for a value that a field can not have.
    """
    keys = {lora_key(name) for name in names}
    given = {name: value for name, value in changes.items() if value is not None}
    Binding(next(iter(names)), **given)
    of_lora = [binding for binding in bindings if lora_key(binding.lora) in keys]
    tags = _find_tags(prompt, keys)
    own = of_lora[min(number, len(of_lora) - 1)] if of_lora else Binding(next(iter(names)))
    if not tags:
        return None, _put(bindings, own, replace(own, **changes), tagged=False)
    start, end = tags[min(number, len(tags) - 1)]
    items, rest, new = prompt[start:end].split(":"), dict(changes), tuple(bindings)
    if given.get("weight") is not None and own.weight is None:
        items = _set_weight(items, rest.pop("weight"))
    if changes and not rest:
        return _edit_of(prompt, start, end, items), new
    if len(tags) > 1 and not of_lora and _fits_in_tag(rest):
        return _edit_of(prompt, start, end, _write_arguments(items, rest)), new
    items, said = _take_arguments(items, rest) if len(tags) == 1 else (items, {})
    new = _put(bindings, own, _filled(own, said, rest), tagged=True)
    return _edit_of(prompt, start, end, items), new


def _edit_of(prompt: str, start: int, end: int, items: Sequence[str]) -> TextEdit | None:
    text = ":".join(items)
    return None if text == prompt[start:end] else TextEdit(start, end, text)


def part_bindings(bindings: Sequence[Binding], names: Collection[str]) -> tuple[Bindings, Bindings]:
    """``bindings`` without those of a LoRA whose tag is gone, and these. One with a weight stands by itself."""
    keys = {lora_key(name) for name in names}
    gone = [binding for binding in bindings if lora_key(binding.lora) in keys and binding.weight is None]
    return tuple(binding for binding in bindings if binding not in gone), tuple(gone)


def drop_tags(prompt: str, names: Collection[str]) -> str:
    """``prompt`` without the tags of LoRAs that are called by any of ``names``, and without the space before each.

    >>> drop_tags("a cat <lora:tuxcat:1> and a dog <lora:browndog:1>", {"browndog"})
    'a cat <lora:tuxcat:1> and a dog'
    """
    keys = {lora_key(name) for name in names}
    edits: list[TextEdit] = []
    for tag in find_tags(prompt):
        if lora_key(tag.name) in keys:
            start, end = tag.span
            edits.append(TextEdit(len(prompt[:start].rstrip(" ")) if prompt[end : end + 1] in BREAKS else start, end))
    return apply_edits(prompt, edits)


def _find_tags(prompt: str, keys: Collection[str]) -> list[tuple[int, int]]:
    """The characters inside of the LoRA's tags, after ``<lora:``, one for each subject.

    Tags that say the same are for one subject, of which the first is given.
    """
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for match in TAG_PATTERN.finditer(prompt):
        if match[1] in LORA_TAG_KINDS and lora_key(_read_name(match[2])) in keys:
            said = sorted(item for item in match[2].split(":") if _name_of(item) in OUR_TAG_ARGUMENTS)
            found.setdefault(tuple(said), match.span(2))
    return list(found.values())


# -- bindings ----------------------------------------------------------------------------------------------------------


def _filled(own: Binding, said: Mapping[str, Any], changes: Mapping[str, Any]) -> Binding:
    """``own`` with ``changes``, and with what its tag ``said`` where it says nothing itself."""
    left = {name: value for name, value in said.items() if getattr(own, name) is None}
    return replace(own, **(left | dict(changes)))


def _put(bindings: Sequence[Binding], own: Binding, changed: Binding, *, tagged: bool) -> Bindings:
    """All bindings, ``own`` changed or added. It is left out where it says nothing and a tag names the LoRA."""
    empty = all(getattr(changed, name) is None for name in BINDING_FIELDS[1:])
    new = () if empty and tagged else (changed,)
    at = next((index for index, binding in enumerate(bindings) if binding is own), len(bindings))
    return (*bindings[:at], *new, *bindings[at + 1 :])


# -- tags --------------------------------------------------------------------------------------------------------------


def _read_name(inside: str) -> str:
    positional = [item for item in inside.split(":") if _name_of(item) is None]
    return positional[0] if positional else ""


def _name_of(item: str) -> str | None:
    """The name in ``name=value``; with two equal signs WebUI takes it for a positional one."""
    parts = item.split("=", 2)
    return parts[0] if len(parts) == 2 else None


def _fits_in_tag(changes: Mapping[str, Any]) -> bool:
    texts = [str(value) for value in changes.values() if value is not None]
    signs = set("".join(texts))
    return signs.isdisjoint(":>=\n\r")


def _write_arguments(items: Sequence[str], changes: Mapping[str, Any]) -> list[str]:
    """A tag's items with ``changes``, before the weight: WebUI's Ctrl+Up turns the last number."""
    gone = {TAG_ARGUMENTS[name] for name in changes if name in TAG_ARGUMENTS}
    name, *kept = [item for item in items if _name_of(item) not in gone]
    ours = [item for item in kept if _name_of(item) in OUR_TAG_ARGUMENTS]
    others = [item for item in kept if item not in ours]
    given = {field: value for field, value in changes.items() if field in TAG_ARGUMENTS and value is not None}
    written = [f"{TAG_ARGUMENTS[field]}={value}" for field, value in given.items()]
    return [name, *ours, *written, *others]


def _take_arguments(items: Sequence[str], changes: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """A tag's items without arguments of ours, and these by field, but for those that ``changes`` names."""
    said = dict(item.split("=") for item in items if _name_of(item) in OUR_TAG_ARGUMENTS)
    left = [item for item in items if _name_of(item) not in OUR_TAG_ARGUMENTS]
    fields = {field: argument for field, argument in TAG_ARGUMENTS.items() if argument in said and field not in changes}
    return left, {field: read_argument(field, said[argument]) for field, argument in fields.items()}


def _set_weight(items: Sequence[str], weight: float) -> list[str]:
    """A tag's items with another weight of the UNet's part, and of the text encoder's where that is the same."""
    positional = [at for at, item in enumerate(items) if _name_of(item) is None]
    te, unet = (_place(items, positional, name, place) for name, place in (("te", 1), ("unet", 2)))
    if te is None and unet is None:
        return [*items, f"{weight:g}"]
    places = (te, unet) if _same(items, te, unet) else (unet,)
    return [f"{_prefix(item)}{weight:g}" if at in places else item for at, item in enumerate(items)]


def _place(items: Sequence[str], positional: Sequence[int], name: str, place: int) -> int | None:
    """Which item is a weight, by its name or else by its place among those without one."""
    named = [at for at, item in enumerate(items) if _name_of(item) == name]
    return next(iter([*named[-1:], *positional[place : place + 1]]), None)


def _same(items: Sequence[str], te: int | None, unet: int | None) -> bool:
    """Whether both parts have one weight: the UNet's follows where it is not given."""
    if unet is None:
        return True
    return te is not None and items[te].rpartition("=")[2] == items[unet].rpartition("=")[2]


def _prefix(item: str) -> str:
    name = _name_of(item)
    return "" if name is None else f"{name}="
