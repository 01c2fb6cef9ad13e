"""A change of a binding, written into the LoRA's tag, so that the prompt says all, or into its own binding."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clora_ext.prompt.bindings.binding import BINDING_FIELDS, Binding
from clora_ext.prompt.bindings.in_tag import TAG_ARGUMENTS
from clora_ext.prompt.grammar.tags import LORA_TAG_KINDS, OUR_TAG_ARGUMENTS, TAG_PATTERN, lora_key


def edit_binding(
    prompt: str, bindings: Sequence[Binding], names: Collection[str], changes: Mapping[str, Any], number: int = 0
) -> tuple[str, tuple[Binding, ...]]:
    """Change what is said of one LoRA, known by any of ``names``; gives the new prompt and bindings.

    ``changes`` are new values by field; ``None`` takes a field back. ``number`` counts the LoRA's subjects, from 0.
    What has a binding of its own keeps it. The rest is written in a tag, or in a new binding where a tag can not hold a
    value (``:``, ``>``, ``=`` and line breaks). Raises ``BindingError`` for a value that a field can not have.
    """
    first = next(iter(names))
    keys = {lora_key(name) for name in names}
    given = {name: value for name, value in changes.items() if value is not None}
    new = Binding(first, **given)
    of_lora = [binding for binding in bindings if lora_key(binding.lora) in keys]
    own = of_lora[min(number, len(of_lora) - 1)] if of_lora else None
    inside = _find_tag(prompt, keys, number)
    if own is not None:
        return prompt, _change_own(bindings, own, changes, tagged=inside is not None)
    if inside is None or not _fits_in_tag(changes):
        return prompt, (*bindings, new)
    start, end = inside
    changed = _change_tag(prompt[start:end], changes)
    return prompt[:start] + changed + prompt[end:], tuple(bindings)


def _find_tag(prompt: str, keys: Collection[str], number: int) -> tuple[int, int] | None:
    """The characters inside of the tag for the LoRA's subject ``number``, after ``<lora:``.

    Tags that say the same are for one subject, of which this is the first.
    """
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for match in TAG_PATTERN.finditer(prompt):
        if match[1] in LORA_TAG_KINDS and lora_key(_read_name(match[2])) in keys:
            said = sorted(item for item in match[2].split(":") if _read_argument(item) in OUR_TAG_ARGUMENTS)
            found.setdefault(tuple(said), match.span(2))
    spans = list(found.values())
    return spans[min(number, len(spans) - 1)] if spans else None


def _change_own(
    bindings: Iterable[Binding], own: Binding, changes: Mapping[str, Any], *, tagged: bool
) -> tuple[Binding, ...]:
    """All bindings, ``own`` changed. It is left out where it says nothing any more and a tag names the LoRA."""
    changed = replace(own, **changes)
    empty = all(getattr(changed, name) is None for name in BINDING_FIELDS[1:])
    if empty and tagged:
        return tuple(binding for binding in bindings if binding is not own)
    return tuple(changed if binding is own else binding for binding in bindings)


def _read_name(inside: str) -> str:
    positional = [item for item in inside.split(":") if not _is_argument(item)]
    return positional[0] if positional else ""


def _is_argument(item: str) -> bool:
    """Whether ``item`` is ``name=value``; with two equal signs WebUI takes it for a positional one."""
    return len(item.split("=", 2)) == 2


def _fits_in_tag(changes: Mapping[str, Any]) -> bool:
    texts = [str(value) for value in changes.values() if value is not None]
    signs = set("".join(texts))
    return signs.isdisjoint(":>=\n\r")


def _change_tag(inside: str, changes: Mapping[str, Any]) -> str:
    """The inside of a tag with ``changes`` made. Everything else in it stays as it is."""
    items = inside.split(":")
    gone = {TAG_ARGUMENTS[name] for name in changes if name in TAG_ARGUMENTS}
    if changes.get("weight") is not None:
        items = _set_weight(items, changes["weight"])
        gone |= {"te", "unet"}
    kept = [item for item in items if _read_argument(item) not in gone]
    for name, value in changes.items():
        if name in TAG_ARGUMENTS and value is not None:
            kept.append(f"{TAG_ARGUMENTS[name]}={value}")
    return ":".join(kept)


def _set_weight(items: Sequence[str], weight: float) -> list[str]:
    """A tag's items with one weight for both parts; the rank to keep, the fourth, stays."""
    written = f"{weight:g}"
    arguments = [item for item in items if _is_argument(item)]
    positional = [item for item in items if not _is_argument(item)]
    name, rank = positional[0], positional[3:]
    if rank:
        return [name, written, written, *rank, *arguments]
    return [name, written, *arguments]


def _read_argument(item: str) -> str | None:
    return item.split("=", maxsplit=1)[0] if _is_argument(item) else None
