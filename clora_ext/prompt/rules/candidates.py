"""The default binding: for one LoRA, the subjects that the first rule which fits allows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from clora_ext.prompt.grammar import vocabulary
from clora_ext.prompt.grammar.lexer import Word, split_words
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.rules.by_name import find_words_by_name
from clora_ext.prompt.rules.by_trigger import find_by_trigger, find_trigger_of
from clora_ext.prompt.rules.evidence import LoraEvidence
from clora_ext.prompt.rules.trigger_matches import TriggerMatches


@dataclass(frozen=True, slots=True)
class Candidate:
    """A subject that a LoRA may be bound to, and the words that are its trigger there."""

    subject: WordSpan
    trigger: WordSpan = ()


def find_candidates(text: PromptText, evidence: LoraEvidence) -> tuple[Candidate, ...]:
    """Where the LoRA's subject may be: one place, several with the same words, or else an error follows.

    In order: the explicit subject, the activation text, the phrase after the tag, the file's name. A later rule
    decides between several candidates of an earlier one. Raises ``BindingError`` for an explicit subject or occurrence
    that is not in the prompt, and for words that are in a schedule.
    """
    intent = evidence.intent
    if intent.subject is not None:
        found = _find_explicit(text, evidence, intent.subject)
        sure = [candidate for candidate in found if candidate.subject in evidence.sure_nouns]
        return tuple(_find_in_trigger(text, evidence, candidate) for candidate in sure or found)
    by_trigger = find_by_trigger(text, evidence)
    found = [Candidate(subject, trigger) for subject, trigger in by_trigger.items()]
    if not found:
        found = [Candidate(span) for span in _find_by_place_or_name(text, evidence)]
    if intent.occurrence is None:
        return tuple(found)
    return _choose_occurrence(text, evidence, found, intent.occurrence)


def list_choices(text: PromptText) -> str:
    """The words of the prompt that a subject can be chosen from, for an error's sentence.

    A word that stands there several times is written as at its first place and listed at its last.
    """
    written: dict[str, str] = {}
    for word in reversed(text.words):
        if _is_choosable(word):
            written[word.key] = word.text
    words = list(reversed(written.values()))
    if not words:
        return "the prompt has no word to choose from"
    more = ", …" if len(words) > 12 else ""
    return f"words to choose from: {', '.join(words[:12])}{more}"


def _is_choosable(word: Word) -> bool:
    return vocabulary.can_be_subject(word.text) and not word.scheduled


def _find_explicit(text: PromptText, evidence: LoraEvidence, subject: str) -> list[Candidate]:
    """The places where the given words stand; those beside the LoRA's trigger if that tells."""
    intent = evidence.intent
    spans = text.find(split_words(subject))
    if not spans:
        msg = f"“{subject}”, which “{intent.name}” is to draw, is not in the prompt; {list_choices(text)}."
        raise intent.make_error(msg, "subject")
    if intent.occurrence is not None:
        spans = (_pick(text, evidence, spans, intent.occurrence),)
    free = [span for span in spans if text.in_every_step(span)]
    if not free:
        msg = (
            f"“{text.join(spans[0])}”, which “{intent.name}” is to draw, stands in a schedule such as [a:b:0.5] or "
            f"[a|b]; move it out, or choose another word."
        )
        raise intent.make_error(msg, "subject")
    found = [_add_trigger(text, evidence, span) for span in free]
    beside = [candidate for candidate in found if _is_beside_trigger(text, candidate)]
    return beside or found


def _add_trigger(text: PromptText, evidence: LoraEvidence, subject: WordSpan) -> Candidate:
    trigger = find_trigger_of(text, evidence, subject)
    return Candidate(subject, trigger)


def _find_in_trigger(text: PromptText, evidence: LoraEvidence, candidate: Candidate) -> Candidate:
    """Of a merged file, what a part of it draws where its trigger is given as the subject: “cat” of “vako cat”."""
    matches = [match for match in evidence.triggers.matches if match.pieces[0] == candidate.subject]
    if not evidence.intent.facts.parts or not matches:
        return candidate
    alone = replace(evidence, triggers=TriggerMatches(tuple(matches)), noun_after_tag=None)
    found = find_by_trigger(text, alone)
    if len(found) != 1:
        return candidate
    ((subject, trigger),) = found.items()
    return Candidate(subject, trigger)


def _is_beside_trigger(text: PromptText, candidate: Candidate) -> bool:
    """Whether a word of the trigger is in the phrase of the subject."""
    phrases = text.phrases_of(candidate.subject)
    return not phrases.isdisjoint(text.phrases_of(candidate.trigger))


def _find_by_place_or_name(text: PromptText, evidence: LoraEvidence) -> tuple[WordSpan, ...]:
    """The noun after the tag, else the words that the file's name tells.

    In front of the prompt and in bunches people put tags whose place means nothing. There a name wins over the place
    of a bunch, and makes the place of a single tag doubtful.
    """
    named = evidence.nouns_by_name
    after = evidence.noun_after_tag
    if after is None:
        return named or find_words_by_name(text, evidence.intent.facts)
    placed: WordSpan = (after.noun,)
    if after.in_bunch:
        return named or (placed,)
    if after.in_front and named and placed not in named:
        return (placed, *named)
    return (placed,)


def _choose_occurrence(
    text: PromptText, evidence: LoraEvidence, found: Sequence[Candidate], occurrence: int
) -> tuple[Candidate, ...]:
    """The wanted occurrence of the one word that the default binding finds; all that it finds if they differ."""
    keys = {text.keys_of(candidate.subject) for candidate in found}
    if len(keys) != 1:
        return tuple(found)
    spans = text.find(keys.pop())
    span = _pick(text, evidence, spans, occurrence)
    if not text.in_every_step(span):
        intent = evidence.intent
        msg = (
            f"Place {occurrence} of “{text.join(span)}”, which “{intent.name}” is to draw, is in a schedule such as "
            f"[a:b:0.5]; move it out."
        )
        raise intent.make_error(msg, "occurrence")
    same = _with_subject(found, span)
    return (same or _add_trigger(text, evidence, span),)


def _with_subject(found: Iterable[Candidate], subject: WordSpan) -> Candidate | None:
    return next((candidate for candidate in found if candidate.subject == subject), None)


def _pick(text: PromptText, evidence: LoraEvidence, spans: Sequence[WordSpan], occurrence: int) -> WordSpan:
    """Place number ``occurrence`` of ``spans``."""
    if occurrence > len(spans):
        intent = evidence.intent
        times = "once" if len(spans) == 1 else f"{len(spans)} times"
        msg = (
            f"“{text.join(spans[0])}”, which “{intent.name}” is to draw, stands {times} in the prompt, so there is "
            f"no occurrence {occurrence}; choose 1 to {len(spans)}."
        )
        raise intent.make_error(msg, "occurrence")
    return spans[occurrence - 1]
