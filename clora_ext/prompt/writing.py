"""Writing a binding back: into the LoRA's tag, so that the prompt says all, or into its line of the bindings."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clora_ext.prompt.requests import FIELDS, Request
from clora_ext.prompt.tags import KINDS, TAG

IN_TAG: Mapping[str, str] = {
    "subject": "bind", "occurrence": "occurrence", "trigger": "trigger", "role": "role", "on": "on",
}  # fmt: skip
"""The name of a request's field in a tag."""


def write(
    prompt: str, requests: Sequence[Request], names: Collection[str], changes: Mapping[str, Any]
) -> tuple[str, tuple[Request, ...]]:
    """Change what is said of one LoRA, known by any of ``names``; ``None`` takes a field back.

    A LoRA that has a line of its own keeps it; others are written in their tags, or where a tag can not hold a value
    (``:``, ``>``, ``=`` and line breaks) in a new line. Raises ``BindingError`` for a value that can not be.
    """
    first = next(iter(names))
    own = next((request for request in requests if request.lora in names), None)
    said = Request(first, **{name: value for name, value in changes.items() if value is not None})
    tag = next((found for found in TAG.finditer(prompt) if found[1] in KINDS and _name(found[2]) in names), None)
    if own is None and tag is not None and _fits(changes):
        return prompt[: tag.start(2)] + _written(tag[2], changes) + prompt[tag.end(2) :], tuple(requests)
    if own is None:
        return prompt, (*requests, said)
    changed = replace(own, **changes)
    bare = all(getattr(changed, name) is None for name in FIELDS[1:]) and tag is not None
    return prompt, tuple(
        changed if request is own else request for request in requests if not (bare and request is own)
    )


def _name(inner: str) -> str:
    return next((item for item in inner.split(":") if not _named(item)), "")


def _named(item: str) -> bool:
    return len(item.split("=", 2)) == 2


def _fits(changes: Mapping[str, Any]) -> bool:
    return not any(sign in str(value) for value in changes.values() if value is not None for sign in ":>=\n\r")


def _written(inner: str, changes: Mapping[str, Any]) -> str:
    """The inside of a tag with ``changes`` made; everything else in it stays as it is."""
    items = inner.split(":")
    gone = {IN_TAG[name] for name in changes if name in IN_TAG}
    if changes.get("weight") is not None:
        weight = f"{changes['weight']:g}"
        positional = [item for item in items if not _named(item)]
        items = [positional[0], weight, *([weight, *positional[3:]] if len(positional) > 3 else [])]
        items += [item for item in inner.split(":") if _named(item)]
        gone |= {"te", "unet"}
    kept = [item for item in items if not (_named(item) and item.split("=")[0] in gone)]
    new = [f"{IN_TAG[name]}={value}" for name, value in changes.items() if name in IN_TAG and value is not None]
    return ":".join(kept + new)
