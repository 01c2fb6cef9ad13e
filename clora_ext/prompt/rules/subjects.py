"""What is bound to a LoRA: its subject's words, and the trigger that its own branch has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clora_ext.prompt.bindings.masks import mask_key
from clora_ext.prompt.bindings.own_mask import MaskWay
from clora_ext.prompt.grammar.lexer import split_words
from clora_ext.prompt.grammar.nouns import is_being, is_class
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.rules.by_trigger import find_trigger_of
from clora_ext.prompt.rules.candidates import Candidate
from clora_ext.prompt.rules.evidence import LoraEvidence
from clora_ext.prompt.rules.intents import LoraIntent

NAMES_ELSEWHERE: Literal["kept", "class"] = "kept"
"""What stands in the other branches for a subject that is a name: the name, or the class word of its training tags.

It can not be left out: a subject's mask is looked for in every branch, by the columns of its words. Kept, the text says
whom the other branches' pictures have at that place, and no word comes into the prompt that nobody wrote.
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A LoRA and the words it draws, as they are written in the prompt."""

    lora: str
    te: float
    unet: float
    dyn: int | None
    """Rank to keep, as the tag's fourth part says; ``None`` for all."""
    words: str
    trigger: str | None
    """What its own branch has and the others lack: words of the prompt, or the ones put in."""
    occurrence: int
    """Which of the places where ``words`` stand in the prompt, from 1."""
    mask: str | None = None
    """Somebody's own, a picture in base64."""
    mask_way: MaskWay = "fixed"
    key: str | None = None
    """What its own mask is kept by: its LoRA, or where that may have several subjects a line of bindings; ``None``
    where no such line tells it from the others."""
    leads: bool = True
    """Whether a host that draws by itself has the LoRA for it: of the subjects that share a tag, one."""


@dataclass(frozen=True, slots=True)
class BoundWords:
    """A bound subject's words in the prompt, and what its own branch has that the others lack."""

    subject: WordSpan
    trigger: WordSpan = ()
    insert: str | None = None
    """A trigger that does not stand in the prompt, put before the subject."""
    style: WordSpan = ()
    """Words of the prompt that are triggers of styles on this subject only."""
    append: tuple[str, ...] = ()
    """Triggers of such styles that do not stand in the prompt, put at its end."""
    stand_in: str | None = None
    """What the other branches have instead of the subject; ``None`` for its own words."""


def bind_words(text: PromptText, evidence: LoraEvidence, candidate: Candidate) -> BoundWords:
    """The candidate with its trigger: where it stands, else the explicit one to put in."""
    trigger = candidate.trigger or find_trigger_of(text, evidence, candidate.subject)
    explicit = evidence.intent.trigger
    if trigger or not explicit or _holds_words(text, candidate.subject, explicit):
        return BoundWords(candidate.subject, trigger, stand_in=_find_stand_in(text, evidence, candidate.subject))
    return BoundWords(candidate.subject, insert=explicit.strip())


def _find_stand_in(text: PromptText, evidence: LoraEvidence, subject: WordSpan) -> str | None:
    """The class word for a name, as ``NAMES_ELSEWHERE`` says, if the training tags have one."""
    is_name = any(match.pieces[0] == subject for match in evidence.triggers.matches)
    if NAMES_ELSEWHERE == "kept" or not is_name or is_class(text.keys[subject[-1]]):
        return None
    kinds = [word.lstrip("0123456789+") for word in evidence.intent.facts.words if is_being(word)]
    return next(iter(kinds), None)


def require_separate_triggers(text: PromptText, intents: Sequence[LoraIntent], bound: Sequence[BoundWords]) -> None:
    """Raise ``BindingError`` if a trigger holds another LoRA's subject, which would be taken out with it."""
    for intent, words in zip(intents, bound, strict=True):
        for other, others in zip(intents, bound, strict=True):
            shared = set(words.trigger).intersection(others.subject)
            if shared:
                written = text.join(tuple(sorted(shared)))
                msg = (
                    f"“{written}” is in the trigger of LoRA “{intent.name}” and in the subject of LoRA “{other.name}”; "
                    f"bind one of them to other words."
                )
                raise intent.make_error(msg, "trigger")


def make_subject(text: PromptText, intent: LoraIntent, words: BoundWords) -> Subject:
    """The subject as the plan has it, in words."""
    keys = text.keys_of(words.subject)
    places = text.find(keys)
    return Subject(
        lora=intent.name,
        te=intent.te,
        unet=intent.unet,
        dyn=intent.dyn,
        words=text.join(words.subject),
        trigger=words.insert or text.join(words.trigger) or None,
        occurrence=places.index(words.subject) + 1,
        mask=intent.mask,
        mask_way=intent.mask_way,
        key=_find_key(text, intent, words.subject),
    )


def _find_key(text: PromptText, intent: LoraIntent, subject: WordSpan) -> str | None:
    """By the words that somebody said, else by those that were found."""
    if not intent.several:
        return intent.name
    if intent.subject is not None:
        return mask_key(intent.name, intent.subject, intent.occurrence)
    places = text.find(text.keys_of(subject))
    number = places.index(subject) + 1 if len(places) > 1 else None
    return None if intent.number is not None else mask_key(intent.name, text.join(subject), number)


def _holds_words(text: PromptText, subject: WordSpan, trigger: str) -> bool:
    """Whether the words of ``trigger`` stand in the subject one after the other."""
    wanted = tuple(word.casefold() for word in split_words(trigger))
    keys = text.keys_of(subject)
    return any(keys[start : start + len(wanted)] == wanted for start in range(len(keys)))
