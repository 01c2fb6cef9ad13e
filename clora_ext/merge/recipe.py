"""What a merged file was made of, in its header: enough to make it again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clora_ext.errors import LoraError
from clora_ext.merge.inputs import Ingredient

HEADER_KEY = "clora_merge_recipe"
"""Under which it stands in a file's metadata."""
VERSION = 1


@dataclass(frozen=True, slots=True)
class Part:
    """One LoRA of a recipe."""

    name: str
    ratio: float = 1.0
    trigger: str = ""
    hash: str = ""
    """Its ``sshs_model_hash``, where it has one."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A merge."""

    method: str
    loras: tuple[Part, ...]
    base: str = ""
    """The checkpoint's file."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else was chosen, as JSON has it."""

    def metadata(self) -> dict[str, str]:
        """For the header of a file."""
        return {HEADER_KEY: json.dumps({"version": VERSION, **asdict(self)}, ensure_ascii=False)}

    def ingredients(self, find: Callable[[str], Path | None]) -> tuple[Ingredient, ...]:
        """Its LoRAs as they are here. Raises ``LoraError`` with the names of those that ``find`` does not know."""
        paths = {part.name: find(part.name) for part in self.loras}
        gone = [name for name, path in paths.items() if path is None]
        if gone:
            msg = f"The recipe's LoRAs {', '.join(gone)} are not here: put them into the folder, or choose others."
            raise LoraError(msg, field="lora")
        known = {name: path for name, path in paths.items() if path is not None}
        return tuple(Ingredient(known[part.name], part.ratio, part.trigger) for part in self.loras)


def triggers_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The triggers of the LoRAs in a merged file, once each; none for a file without a recipe that can be read.

    >>> triggers_of(Recipe("default", (Part("tuxcat", trigger="vako cat"), Part("browndog"))).metadata())
    ('vako cat',)
    """
    try:
        parts = recipe_of("", metadata).loras
    except LoraError:
        return ()
    triggers = [part.trigger.strip() for part in parts if isinstance(part.trigger, str)]
    return tuple(dict.fromkeys(trigger for trigger in triggers if trigger))


def recipe_of(name: str, metadata: Mapping[str, Any]) -> Recipe:
    """The recipe of a merged file by its ``metadata``, texts or what WebUI has read of them as JSON already.

    Raises ``LoraError`` for a file without one that can be read.
    """
    if HEADER_KEY not in metadata:
        raise LoraError(f"{name} has no recipe in its header: choose a file that was merged here.", field="lora")
    try:
        told = metadata[HEADER_KEY]
        read = json.loads(told) if isinstance(told, str) else dict(told)
        version = read.pop("version")
        loras = tuple(Part(**part) for part in read.pop("loras"))
        found = Recipe(loras=loras, **read)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        msg = f"The recipe in the header of {name} is damaged: choose the LoRAs again by hand."
        raise LoraError(msg, field="lora") from error
    if version != VERSION:
        msg = f"The recipe of {name} is of version {version}, and this extension reads {VERSION}: update the extension."
        raise LoraError(msg, field="lora")
    return found
