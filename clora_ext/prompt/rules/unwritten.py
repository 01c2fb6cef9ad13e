"""Activation texts that nobody has written in the prompt."""

from dataclasses import dataclass

from clora_ext.prompt.grammar.lexer import split_words
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.rules.intents import LoraIntent
from clora_ext.prompt.rules.trigger_matches import match_triggers


@dataclass(frozen=True, slots=True)
class UnwrittenTrigger:
    """What a LoRA was trained on and the prompt does not have."""

    text: str
    """The activation text."""
    add: str
    """What to write before its subject's words, or by itself where it has none."""


def find_unwritten(text: PromptText, intent: LoraIntent, subject: WordSpan) -> UnwrittenTrigger | None:
    """The first activation text of a LoRA none of whose texts is in the prompt.

    ``None`` as well where somebody has given another trigger, where the LoRA has no weight, and for a style on one
    subject: its trigger is put into that subject's branch.
    """
    triggers = [trigger for trigger in intent.facts.triggers if split_words(trigger)]
    if not triggers or intent.trigger is not None or intent.role == "style_on" or max(intent.te, intent.unet) <= 0:
        return None
    found = match_triggers(text, triggers)
    if found.matches or found.scheduled is not None:
        return None
    return UnwrittenTrigger(triggers[0], _without_subject(_first_part(triggers[0]), text.keys_of(subject)))


def _first_part(trigger: str) -> str:
    """What stands before the first comma; all of it where that would cut a bracket in two."""
    first = next(part for part in trigger.split(",") if split_words(part))
    return _whole(first.strip(), trigger)


def _without_subject(trigger: str, subject: tuple[str, ...]) -> str:
    """``trigger`` without the words of the subject at its end."""
    words = split_words(trigger)
    rest = len(words) - len(subject)
    own = tuple(word.casefold() for word in words[rest:])
    if not subject or rest <= 0 or own != subject:
        return trigger
    return _whole(trigger[: trigger.rindex(words[rest])].strip(), trigger)


def _whole(part: str, trigger: str) -> str:
    return part if part.count("(") == part.count(")") else trigger.strip()
