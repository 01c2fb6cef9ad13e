"""LoRAs that draw no subject: the style of the whole picture, or of one subject."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from clora_ext.prompt.grammar.lexer import split_words
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.grammar.tags import lora_key
from clora_ext.prompt.rules.evidence import LoraEvidence
from clora_ext.prompt.rules.intents import LoraIntent
from clora_ext.prompt.rules.subjects import BoundWords, Subject
from clora_ext.prompt.rules.trigger_matches import collect_words


@dataclass(frozen=True, slots=True)
class Style:
    """A LoRA that draws no subject of its own."""

    lora: str
    te: float
    unet: float
    dyn: int | None
    """Rank to keep, as the tag's fourth part says; ``None`` for all."""
    on: int | None
    """An index of ``BoundPrompt.subjects``, ``None`` for everything."""
    trigger: str | None = None
    """Of a style on one subject: what that subject's branch has and the others lack."""
    why: str | None = None
    """What told that it is a style, where nobody said so: “by its name”."""


def make_style(text: PromptText, evidence: LoraEvidence, subjects: Sequence[Subject]) -> Style:
    """A style, and for one of a single subject the index of that subject.

    Raises ``BindingError`` for a style on one subject that names none of ``subjects`` or several, and for its trigger
    if that stands in schedules only.
    """
    intent = evidence.intent
    if intent.role == "style":
        return Style(intent.name, intent.te, intent.unet, intent.dyn, None, why=intent.why)
    on = _find_subject(intent, subjects)
    trigger = text.join(_find_words(evidence)) or next(iter(intent.triggers), None)
    return Style(intent.name, intent.te, intent.unet, intent.dyn, on, trigger, intent.why)


def add_style_triggers(words: BoundWords, evidence: Sequence[LoraEvidence], styles: Sequence[Style]) -> BoundWords:
    """``words`` with the triggers of ``styles``, which are on that subject.

    Raises ``BindingError`` for a trigger that stands in schedules only.
    """
    spans: set[int] = set()
    append: list[str] = []
    for lora, style in zip(evidence, styles, strict=True):
        found = _find_words(lora)
        spans.update(found)
        if style.trigger and not found:
            append.append(style.trigger)
    return replace(words, style=tuple(sorted(spans)), append=tuple(append))


def _find_words(evidence: LoraEvidence) -> WordSpan:
    """Where the triggers of a style on one subject stand in the prompt."""
    matches = evidence.require_matches()
    return tuple(sorted(collect_words(matches)))


def _find_subject(intent: LoraIntent, subjects: Sequence[Subject]) -> int:
    """The subject that a style is on, by its LoRA or else by its words."""
    known = _list_subjects(subjects)
    if intent.on is None:
        msg = f"The LoRA “{intent.name}” is a style on one subject; say which with “on”; there is {known}."
        raise intent.make_error(msg, "on")
    found = [index for index, subject in enumerate(subjects) if lora_key(subject.lora) == lora_key(intent.on)]
    by = "words" if found else "LoRA"
    if not found:
        found = _find_by_words(subjects, intent.on, intent.occurrence)
    if len(found) == 1:
        return found[0]
    count = "more than one" if found else "no"
    msg = (
        f"The LoRA “{intent.name}” is a style on “{intent.on}”, which names {count} subject; name one by its {by}: "
        f"there is {known}."
    )
    raise intent.make_error(msg, "on")


def _list_subjects(subjects: Iterable[Subject]) -> str:
    known = ", ".join(f"“{subject.words}” ({subject.lora})" for subject in subjects)
    return known or "none, as no LoRA has a subject"


def _find_by_words(subjects: Iterable[Subject], on: str, occurrence: int | None) -> list[int]:
    wanted = split_words(on.casefold())
    found: list[int] = []
    for index, subject in enumerate(subjects):
        words = split_words(subject.words.casefold())
        if words == wanted and occurrence in (None, subject.occurrence):
            found.append(index)
    return found
