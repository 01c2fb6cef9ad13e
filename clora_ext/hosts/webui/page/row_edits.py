"""What a click or an entry in a row does to prompt and bindings, told as what ``was`` in a field and is ``now``."""

from collections.abc import Mapping, Sequence
from typing import Any

from clora_ext.prompt import (
    Binding,
    Shared,
    add_words,
    edit_binding,
    edit_shared,
    format_bindings,
    lora_key,
    parse_bindings,
    part_bindings,
)
from clora_ext.prompt.grammar.edits import TextEdit, apply_edits

_Edit = dict[str, str]


def edit_row(wanted: Mapping[str, Any], prompt: str, text: str) -> dict[str, Any]:
    """Change what is said of a LoRA; before it that of its ``losers``, after it ``add`` words before its ``subject``.

    ``texts`` are edits of the prompt, each of what the one before has left; ``bindings`` is that of their field, whose
    ``text`` it was, or None. Raises ``CLoRAError``.
    """
    bindings = parse_bindings(text)
    texts: list[_Edit] = []
    left = tuple(bindings)
    for each in (*wanted.get("losers", ()), wanted):
        names = each.get("names") or [each["lora"]]
        if each.get("shared") and each["changes"]:
            left = edit_shared(left, _shared(each["shared"]), each["changes"])
            continue
        tag, left = edit_binding(prompt, left, names, each["changes"], each.get("number", 0))
        if tag is not None:
            texts.append(_whole(prompt, tag))
            prompt = apply_edits(prompt, [tag])
    if "add" in wanted:
        texts.append(_up_to(prompt, add_words(prompt, wanted["add"], wanted["subject"], wanted["occurrence"])))
    return {"bindings": _edit_of(text, bindings, left), "texts": texts}


def move_bindings(wanted: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Bindings go with their LoRA's tag, and come ``back`` with it, beside those that have stayed for their weight."""
    bindings = parse_bindings(text)
    if "back" in wanted:
        there = {lora_key(binding.lora) for binding in bindings if binding.weight is None}
        gone = parse_bindings(wanted["back"])
        back = [binding for binding in gone if lora_key(binding.lora) not in there and binding not in bindings]
        return {"bindings": _edit_of(text, bindings, (*bindings, *back))}
    left, gone = part_bindings(bindings, wanted["names"])
    return {"bindings": _edit_of(text, bindings, left), "gone": format_bindings(gone)}


def _shared(told: Mapping[str, Any]) -> Shared:
    """As the row was given it."""
    return Shared(**{**told, "says": Binding(**told["says"])})


def _edit_of(was: str, bindings: Sequence[Binding], left: Sequence[Binding]) -> _Edit | None:
    return None if tuple(left) == tuple(bindings) else {"was": was, "now": format_bindings(left)}


def _whole(prompt: str, tag: TextEdit) -> _Edit:
    """A tag with its brackets; of equal ones, which are of one subject, the first."""
    start = prompt.rindex("<", 0, tag.start)
    kind = prompt[start : tag.start]
    return {"was": f"{prompt[start : tag.end]}>", "now": f"{kind}{tag.text}>"}


def _up_to(prompt: str, added: TextEdit) -> _Edit:
    """All up to the added words, so that they go to no other place."""
    before = prompt[: added.start]
    return {"was": before, "now": f"{before}{added.text}"}
