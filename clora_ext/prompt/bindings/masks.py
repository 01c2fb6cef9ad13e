"""Own masks beside the bindings, each by its key: the LoRA, or where that has several subjects what is said of one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from clora_ext.errors import BindingError
from clora_ext.prompt.bindings.binding import Binding
from clora_ext.prompt.bindings.text import format_bindings, parse_bindings
from clora_ext.prompt.grammar.tags import lora_key

MASK_FIELDS = ("mask", "mask_way")
"""The fields of a binding that the panel keeps by key."""


def mask_key(lora: str, subject: str, occurrence: int | None = None) -> str:
    """What the mask of one of several subjects of a LoRA is kept by: a line of bindings.

    >>> mask_key("six", "vako cat", 2)
    'six: vako cat #2'
    """
    return format_bindings((Binding(lora, subject=subject, occurrence=occurrence),))


def with_masks(bindings: Sequence[Binding], masks: object) -> tuple[Binding, ...]:
    """``bindings`` with masks: an object of keys with ``mask`` and ``mask_way``, or its JSON.

    What has no binding gets one. Raises ``BindingError`` for the name alone of a LoRA that is bound several times, and
    for what keys and fields can not be.
    """
    found = list(bindings)
    for key, entry in _read_masks(masks).items():
        if not isinstance(entry, Mapping) or "mask" not in entry or not set(entry).issubset(MASK_FIELDS):
            msg = f"“masks” of “{key}” must be an object with the fields {' and '.join(MASK_FIELDS)}."
            raise BindingError(msg, field="masks")
        if entry["mask"] == "":
            msg = f"The mask of “{key}” is not here: paint it, choose its file, or take it back."
            raise BindingError(msg, field="masks")
        meant = _read_key(key)
        own = _find_bindings(found, meant)
        if len(own) > 1:
            msg = f"The LoRA “{key}” has several subjects; say whose mask it is, as in “{key}: cat”."
            raise BindingError(msg, field="masks")
        if own:
            found[own[0]] = replace(found[own[0]], **entry)
        else:
            found.append(replace(meant, weight=_find_weight(found, meant), **entry))
    return tuple(found)


def _read_masks(value: object) -> Mapping[str, object]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = None
    if not isinstance(value, Mapping):
        raise BindingError("“masks” must be an object of LoRAs with the masks of each.", field="masks")
    return value


def _read_key(key: str) -> Binding:
    """The binding that a key is short for."""
    if ":" not in key:
        return Binding(key)
    try:
        (meant,) = parse_bindings(key)
    except (BindingError, ValueError) as error:
        msg = f"“masks” has the key “{key}”; it must be a LoRA, or a LoRA and words, as in “tuxcat: cat #2”."
        raise BindingError(msg, field="masks") from error
    return Binding(meant.lora, subject=meant.subject, occurrence=meant.occurrence)


def _find_bindings(bindings: Sequence[Binding], meant: Binding) -> list[int]:
    """Those of the LoRA that is meant, and if words are, those of these words."""
    own = [at for at, binding in enumerate(bindings) if lora_key(binding.lora) == lora_key(meant.lora)]
    if meant.subject is None:
        return own
    return [at for at in own if _said(bindings[at]) == _said(meant)]


def _said(binding: Binding) -> tuple[str, int | None]:
    return (binding.subject or "").casefold(), binding.occurrence


def _find_weight(bindings: Sequence[Binding], meant: Binding) -> float | None:
    """The weight of the binding that says no more of the LoRA than that."""
    of_lora = [binding for binding in bindings if lora_key(binding.lora) == lora_key(meant.lora)]
    return next((each.weight for each in of_lora if each == Binding(each.lora, weight=each.weight)), None)
