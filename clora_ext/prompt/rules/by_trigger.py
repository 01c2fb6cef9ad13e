"""The noun that a LoRA's activation text belongs to, and the activation text that belongs to a noun."""

from collections.abc import Collection, Sequence

from clora_ext.prompt.grammar import vocabulary
from clora_ext.prompt.grammar.nouns import is_class
from clora_ext.prompt.grammar.phrases import read_phrase
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.rules.by_name import is_in_file_name, list_kinds, names_word
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
    if len(match.core) > 1 or match.core != match.pieces[0]:
        return _find_own_noun(text, evidence, match)
    first, last = match.pieces[0], match.pieces[-1]
    nouns = _find_described(text, last, evidence.other_tags)
    told = any(_is_named(text, evidence, noun) for noun in nouns)
    for piece in (first, last):  # “zorv cat”, with “white paws” after a comma or without
        if len(piece) > 1 and not told and _is_named(text, evidence, piece[-1]):
            return _find_last_noun(text, piece)
    return tuple((noun,) for noun in nouns)


def _find_own_noun(text: PromptText, evidence: LoraEvidence, match: TriggerMatch) -> tuple[WordSpan, ...]:
    """The noun that an activation text of several words ends in, or all of a name: “vako cat”, “hatsune miku”.

    Nothing that follows makes it doubtful, but for a noun right after it: “a hatsune miku figurine”.
    """
    last = match.core[-1]
    has_class = len(match.core) > 1 and _is_kind(text, evidence, last)
    following = _find_class_after(text, match.pieces[0])
    if following is not None and (not has_class or _is_named(text, evidence, following)):
        return ((following,),)
    if has_class:
        return ((last,),)
    later = [(piece[-1],) for piece in match.pieces[1:] if _is_class(text, evidence, piece[-1])]
    if later:  # “souryuu asuka langley, 1girl”
        return (later[0],)
    if _is_between_commas(text, match.words) and _find_elsewhere(text, evidence, match):
        return ()
    return (match.pieces[0],)


def _is_kind(text: PromptText, evidence: LoraEvidence, index: int) -> bool:
    """Whether the word is a class word, of the language or of the LoRA's training tags. A file's name is none: miku."""
    return is_class(text.words[index].text) or text.keys[index] in list_kinds(evidence.intent.facts.words)


def _find_class_after(text: PromptText, piece: WordSpan) -> int | None:
    """The noun of the phrase that goes on right after ``piece``, if it says what kind of thing that is."""
    following = piece[-1] + 1
    if following == len(text.words) or text.words[piece[-1]].after != "soft" or text.words[piece[-1]].owns:
        return None
    while following < len(text.words) and vocabulary.is_adjective(text.words[following].text):
        following += 1
    known = following < len(text.words) and is_class(text.words[following].text)
    return following if known else None


def _find_described(text: PromptText, piece: WordSpan, other_tags: Sequence[int]) -> tuple[int, ...]:
    """The noun that ends the phrase which goes on after ``piece``; several where the text does not tell."""
    last = text.words[piece[-1]]
    following = piece[-1] + 1
    if following == len(text.words) or last.after != "soft" or last.owns:
        return ()
    if vocabulary.classify(text.words[following].text) in ("number", "determiner"):  # “zorv (24 years old)”
        return ()
    limit = min((place for place in other_tags if place >= last.end), default=None)
    phrase = read_phrase(text.words, following, limit=limit)
    indices = range(following, phrase.stop)
    nouns = [index for index in indices if vocabulary.can_be_subject(text.words[index].text)]
    acts = vocabulary.is_participle(text.words[following].text) or _is_verb_before(text, following, phrase.stop)
    if phrase.head in nouns and not acts:
        return (phrase.head,)
    if not nouns or (acts and not _is_after_article(text, piece[0])):
        return ()
    return (piece[-1], *nouns)  # “a zorv sleeping cat”, “zorv licks a dog”


def _is_verb_before(text: PromptText, first: int, stop: int) -> bool:
    """Whether word ``first`` alone stands before a noun with an article, and ends as a verb: “zorv juggles a ball”."""
    word = text.keys[first]
    ends = word.endswith("s") and not is_class(word)
    before_article = stop == first + 1 and stop < len(text.words) and text.words[first].after == "soft"
    return ends and before_article and vocabulary.classify(text.words[stop].text) == "determiner"


def _is_after_article(text: PromptText, index: int) -> bool:
    """Whether the word before says that a noun has to follow, so that a name is none: “a zorv sleeping cat”."""
    return index > 0 and vocabulary.classify(text.words[index - 1].text) == "determiner"


def _find_instead(text: PromptText, evidence: LoraEvidence, match: TriggerMatch) -> tuple[WordSpan, ...]:
    """The subject of a trigger that describes no noun of its phrase: “1girl, zorv, red hair”, “a photo of zorv”.

    Between commas it describes a noun elsewhere that the LoRA's name tells, or a later part of its own text. Else the
    trigger is the noun.
    """
    if _is_between_commas(text, match.words):
        elsewhere = _find_elsewhere(text, evidence, match)
        if elsewhere:
            return elsewhere
    nouns: list[WordSpan] = []
    for piece in match.pieces:
        nouns += _find_last_noun(text, piece)
    classes = [span for span in nouns[1:] if _is_class(text, evidence, span[0])]
    return tuple(classes[:1] or nouns or match.pieces[:1])


def _find_elsewhere(text: PromptText, evidence: LoraEvidence, match: TriggerMatch) -> tuple[WordSpan, ...]:
    """The one noun outside of ``match`` that the LoRA's name or its training tags tell to be its kind."""
    own = text.keys_of(match.words)
    outside = [span for span in evidence.nouns_by_name if text.keys[span[-1]] not in own]
    facts = evidence.intent.facts
    words = {span: text.words[span[-1]].text for span in outside}
    elsewhere = [span for span, word in words.items() if vocabulary.is_count(word) or is_in_file_name(facts, word)]
    return tuple(elsewhere) if len(elsewhere) == 1 else ()


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
