"""The first judge: what a detector names in a picture, against what its prompt asks for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bench.quality.prompts import Prompt
from tiny_world.judge import ABSENT, DUPLICATED, MIXED, PRESENT, WRONG, Found, kind_of, verdict

STATUSES = {"missing": ABSENT, "duplicated": DUPLICATED, "wrong": WRONG, "mixed": MIXED}
THERE = (PRESENT, DUPLICATED)


def wanted_of(prompt: Prompt, draws: str, lora: str | None = None) -> tuple[str, ...]:
    """Names that a detector shall find: of the base model classes; of one LoRA alone its subject and classes."""
    if draws == "base":
        return tuple(kind_of(name) for name in prompt.wanted)
    if draws == "single":
        own = {key: name if key == lora else kind_of(name) for key, name in prompt.subjects.items()}
        return (*own.values(), *prompt.others)
    return prompt.wanted


def judged(
    found: Sequence[Found], prompt: Prompt, wanted: Sequence[str], style: Mapping[str, Any], *, base: bool = False
) -> dict[str, Any]:
    """What stands in a picture's line.

    ``subjects``: each wanted name with its status. ``right``: exactly those, no further one of their classes.
    ``lenient``: every class often enough. ``classes``: every class as often as wanted, whoever it is. ``all``: what the
    table counts as success: ``right``; with a style everywhere ``classes`` and the style (three tones leave too little
    of an identity to name it); with a style on one subject ``classes``, that subject in the style, the other not and
    of the right identity; of the ``base`` model ``classes``. ``style`` is as ``Eye.style`` finds it, empty if the
    prompt has none.
    """
    seen = verdict(found, wanted)
    kinds = Counter(kind_of(name) for name in wanted)
    classes = Counter(thing.kind for thing in found if thing.kind in kinds) == kinds
    success = classes if base else seen.right
    if not base and prompt.style is not None and style:
        success = classes and style["right"]
        if prompt.style.on is not None:
            plain = {name for lora, name in prompt.subjects.items() if lora != prompt.style.on}
            success = success and all(status in THERE for name, status in seen.subjects if name in plain)
    return {
        "found": [thing.name + ("*" if thing.mixed else "") for thing in found],
        "subjects": [list(pair) for pair in seen.subjects],
        "extra": list(seen.extra),
        "right": seen.right,
        "lenient": seen.lenient,
        "classes": classes,
        "all": success,
        **({"style": dict(style)} if style else {}),
    }


def of_subject(found: Sequence[Found], name: str, wanted: Sequence[str]) -> Found | None:
    """The thing in the picture that stands for the wanted ``name``: itself, else one of its class nobody else wants."""
    exact = [thing for thing in found if thing.name == name and not thing.mixed]
    if exact:
        return exact[0]
    own = [thing for thing in found if thing.kind == kind_of(name)]
    free = [thing for thing in own if thing.name not in wanted or thing.mixed]
    return free[0] if free else None
