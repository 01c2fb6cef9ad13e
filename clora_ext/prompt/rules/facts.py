"""What is known about a LoRA's file before anything is bound."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from clora_ext.errors import BindingError
from clora_ext.prompt.grammar.tags import lora_key


@dataclass(frozen=True, slots=True)
class LoraFacts:
    """What is known about a LoRA's file."""

    name: str
    aliases: tuple[str, ...] = ()
    """Other names that tags and bindings may use for it."""
    triggers: tuple[str, ...] = ()
    """Activation texts from its metadata or the user's notes; each may hold commas."""
    words: tuple[str, ...] = ()
    """Class words that its training tags give, for example “cat”."""
    labels: tuple[str, ...] = ()
    """What its metadata says that it is: “style”, “clothing”."""
    parts: tuple[str, ...] = ()
    """Of a merged file the triggers of the LoRAs that it was made of, each of which may draw a subject of its own."""


def find_facts(name: str, facts: Mapping[str, LoraFacts], field: str) -> LoraFacts:
    """The facts of the LoRA with this name or alias. Raises ``BindingError`` in ``field`` if there is none."""
    if name in facts:
        return facts[name]
    for known in facts.values():
        if name in known.aliases:
            return known
    key = lora_key(name)
    for known in facts.values():
        if key in map(lora_key, (known.name, *known.aliases)):
            return known
    names = _list_names(facts)
    by_key = {lora_key(known): known for known in names}
    near = [by_key[found] for found in get_close_matches(lora_key(name), by_key, n=5, cutoff=0.6)] or names[:8]
    there = f"there is {', '.join(near)}" if near else "there are none at all"
    msg = f"There is no LoRA “{name}”; {there}."
    raise BindingError(msg, field=field)


def _list_names(facts: Mapping[str, LoraFacts]) -> list[str]:
    """Every name and alias, once."""
    names: dict[str, None] = {}
    for known in facts.values():
        names[known.name] = None
        names.update(dict.fromkeys(known.aliases))
    return list(names)
