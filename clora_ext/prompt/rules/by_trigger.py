"""The noun that a LoRA's activation text belongs to, and the activation text that belongs to a noun."""

from collections.abc import Collection, Sequence

from clora_ext.prompt.grammar import vocabulary
from clora_ext.prompt.grammar.phrases import read_phrase
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.rules.by_name import names_word
from clora_ext.prompt.rules.evidence import LoraEvidence
from clora_ext.prompt.rules.trigger_matches import TriggerMatch, collect_words

SubjectTriggers = dict[WordSpan, WordSpan]
"""For every subject found, the words that are its trigger."""


def find_by_trigger(text: PromptText, evidence: LoraEvidence) -> SubjectTriggers:
    """The nouns that the LoRA's activation text, where it stands in the prompt, belongs to, each with its trigger.

    Where the text leaves several, the noun after the tag or those that the file's name tells. Raises ``BindingError``
    for a trigger that stands in schedules only.
    """
    matches = evidence.require_matches()
    found = _find_subjects(text, evidence, matches)
    found = _keep(found, evidence.sure_nouns)
    named = [span for span in evidence.nouns_by_name if not _within_match(span, matches)]
    return _keep(found, named)


def find_trigger_of(text: PromptText, evidence: LoraEvidence, subject: WordSpan) -> WordSpan:
    """The words of the LoRA's trigger that go with a subject found otherwise; empty if there are none.

    Those in the subject's phrase, else the one match whose phrase has no noun. Raises ``BindingError`` for a trigger
    that stands in schedules only.
    """
    matches = [match for match in evidence.require_matches() if not set(match.words) <= set(subject)]
    phrases = text.phrases_of(subject)
    chosen = [match for match in matches if phrases & text.phrases_of(match.words)]
    if not chosen:
        chosen = [match for match in matches if _has_no_other_noun(text, match.words)]
        if len(chosen) != 1:
            return ()
    words = collect_words(chosen) - set(subject)
    return tuple(sorted(words))


def _find_subjects(text: PromptText, evidence: LoraEvidence, matches: Sequence[TriggerMatch]) -> SubjectTriggers:
    """The subjects of all matches, in order.

    A trigger repeated between commas goes with the noun that it stands at elsewhere.
    """
    nouns = [_find_nouns(text, evidence, match) for match in matches]
    repeated: set[int] = set()
    triggers: dict[WordSpan, set[int]] = {}
    for match, subjects in zip(matches, nouns, strict=True):
        if not subjects and any(nouns) and _is_between_commas(text, match.words):
            repeated.update(match.words)
            continue
        for subject in subjects or _find_instead(text, evidence, match):
            words = set(match.words).difference(subject)
            triggers.setdefault(subject, set()).update(words)
    return {subject: tuple(sorted(triggers[subject] | repeated)) for subject in sorted(triggers)}


def _keep(found: SubjectTriggers, told: Collection[WordSpan]) -> SubjectTriggers:
    """The subjects that ``told`` has as well; all of them if it has none."""
    kept = {subject: trigger for subject, trigger in found.items() if subject in told}
    return kept or found


def _within_match(span: WordSpan, matches: Sequence[TriggerMatch]) -> bool:
    return any(set(span) <= set(match.words) for match in matches)


def _find_nouns(text: PromptText, evidence: LoraEvidence, match: TriggerMatch) -> tuple[WordSpan, ...]:
    """The nouns that a match describes: several where the text does not tell, none where no noun follows."""
    first, last = match.pieces[0], match.pieces[-1]
    nouns = _find_described(text, last, evidence.other_tags)
    told = any(_is_named(text, evidence, noun) for noun in nouns)
    for piece in (first, last):  # “zorv cat”, with “white paws” after a comma or without
        if len(piece) == 1:
            continue
        own_noun = not told and _is_named(text, evidence, piece[-1])
        if own_noun or (not nouns and piece == first):
            return _find_last_noun(text, piece)
    return tuple((noun,) for noun in nouns)


def _find_described(text: PromptText, piece: WordSpan, other_tags: Sequence[int]) -> tuple[int, ...]:
    """The noun that ends the phrase which goes on after ``piece``; several where the text does not tell."""
    last = text.words[piece[-1]]
    following = piece[-1] + 1
    if following == len(text.words) or last.after != "soft":
        return ()
    limit = min((place for place in other_tags if place >= last.end), default=None)
    phrase = read_phrase(text.words, following, limit=limit)
    indices = range(following, phrase.stop)
    nouns = [index for index in indices if vocabulary.can_be_subject(text.words[index].text)]
    if phrase.head in nouns and not vocabulary.is_participle(text.words[following].text):
        return (phrase.head,)
    if not nouns:
        return ()
    return (piece[-1], *nouns)  # “zorv playing guitar”, “zorv sleeping cat”, “zorv licks a dog”


def _find_instead(text: PromptText, evidence: LoraEvidence, match: TriggerMatch) -> tuple[WordSpan, ...]:
    """The subject of a trigger that describes no noun of its phrase: “1girl, zorv, red hair”, “a photo of zorv”.

    Between commas it describes a noun elsewhere that the LoRA's name tells, or a later part of its own text. Else the
    trigger is the noun.
    """
    if _is_between_commas(text, match.words):
        elsewhere = [span for span in evidence.nouns_by_name if set(span).isdisjoint(match.words)]
        if len(elsewhere) == 1:
            return tuple(elsewhere)
    nouns: list[WordSpan] = []
    for piece in match.pieces:
        nouns += _find_last_noun(text, piece)
    classes = [span for span in nouns[1:] if _is_class(text, evidence, span[0])]
    return tuple(classes[:1] or nouns)


def _find_last_noun(text: PromptText, piece: WordSpan) -> tuple[WordSpan, ...]:
    """The last word of a part of a trigger, if it is a noun."""
    last = piece[-1]
    return ((last,),) if vocabulary.can_be_subject(text.words[last].text) else ()


def _is_named(text: PromptText, evidence: LoraEvidence, index: int) -> bool:
    return names_word(evidence.intent.facts, text.words[index].text)


def _is_class(text: PromptText, evidence: LoraEvidence, index: int) -> bool:
    """Whether the word says what kind of thing the LoRA draws."""
    return _is_named(text, evidence, index) or vocabulary.is_count(text.words[index].text)


def _is_between_commas(text: PromptText, span: WordSpan) -> bool:
    """Whether the words fill all the room between two commas or other signs."""
    first, last = span[0], span[-1]
    if first > 0 and text.words[first - 1].after == "soft":
        return False
    return text.words[last].after != "soft" or last + 1 == len(text.words)


def _has_no_other_noun(text: PromptText, span: WordSpan) -> bool:
    """Whether the phrase of the words has no other noun."""
    phrases = text.phrases_of(span)
    for index, word in enumerate(text.words):
        if index in span or text.phrase_numbers[index] not in phrases:
            continue
        if vocabulary.can_be_subject(word.text):
            return False
    return True
