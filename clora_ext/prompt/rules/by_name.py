"""Which words of a prompt a LoRA's file name or training tags name."""

import re
from collections.abc import Collection

from clora_ext.prompt.grammar import vocabulary
from clora_ext.prompt.grammar.lexer import split_words
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.rules.facts import LoraFacts

_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\dA-Z_]+|[A-Z]+")
_HASH = re.compile(r"[0-9a-f]{8,}")


def split_file_name(name: str) -> tuple[str, ...]:
    """The words in a file name, in small letters: split at signs, digits and capitals; none of two letters or fewer.

    >>> split_file_name("animals/my_tuxCat-v2")
    ('tux', 'cat')
    """
    return tuple(part for part in list_name_parts(name) if part not in vocabulary.GENERIC_NAMES)


def list_name_parts(name: str) -> tuple[str, ...]:
    """As ``split_file_name`` with words that say nothing of the picture: lora, style, v2."""
    stem = re.split(r"[/\\]", name)[-1]
    if _HASH.fullmatch(stem):
        return ()
    parts = [part.casefold() for part in _PART.findall(stem)]
    return tuple(part for part in parts if len(part) > 2)


def names_word(facts: LoraFacts, word: str) -> bool:
    """Whether file name or class words name ``word``."""
    if _in_file_name(_split_names(facts), word):
        return True
    lasts = [split_words(known)[-1] for known in _list_class_words(facts)]
    return word.casefold() in lasts


def find_nouns_by_name(text: PromptText, facts: LoraFacts) -> tuple[WordSpan, ...]:
    """The nouns of the prompt that the LoRA names: “cat” of “a fluffy cat”, not of “cat ears”.

    Those of its file name if there are any, else those of its class words.
    """
    heads = {phrase.head for phrase in text.phrases}
    nouns = [index for index in _list_possible_subjects(text) if index in heads]
    return _find(text, facts, nouns)


def find_words_by_name(text: PromptText, facts: LoraFacts) -> tuple[WordSpan, ...]:
    """As ``find_nouns_by_name`` for any word. With one that stands before a noun that noun too: either may be meant."""
    possible = _list_possible_subjects(text)
    spans = set(_find(text, facts, possible))
    heads = {text.phrase_at(span[-1]).head for span in spans}
    spans.update((head,) for head in heads if head in possible)
    return tuple(sorted(spans))


def _list_possible_subjects(text: PromptText) -> list[int]:
    """The words that can be a subject, at every step."""
    words = enumerate(text.words)
    return [index for index, word in words if vocabulary.can_be_subject(word.text) and not word.scheduled]


def _find(text: PromptText, facts: LoraFacts, allowed: Collection[int]) -> tuple[WordSpan, ...]:
    """The words that the file name has, else the class words. All end in ``allowed``."""
    parts = _split_names(facts)
    spans = tuple((index,) for index in allowed if _in_file_name(parts, text.words[index].text))
    if spans:
        return spans
    found: dict[int, WordSpan] = {}
    for known in sorted(_list_class_words(facts), key=len):
        for span in _find_class(text, known, allowed):
            found[span[-1]] = span
    return tuple(found[last] for last in sorted(found))


def _find_class(text: PromptText, known: str, allowed: Collection[int]) -> list[WordSpan]:
    """Where a class word stands, with a number before it as well."""
    written = text.find(split_words(known))
    spans = [span for span in written if span[-1] in allowed]
    spans += [(index,) for index in allowed if _strip_count(text.words[index].text) == known]
    return spans


def _split_names(facts: LoraFacts) -> frozenset[str]:
    """The words in the LoRA's names."""
    parts: set[str] = set()
    for name in (facts.name, *facts.aliases):
        parts.update(split_file_name(name))
    return frozenset(parts)


def _in_file_name(parts: Collection[str], word: str) -> bool:
    """Whether ``word`` is a part of a file name, or the end of a longer part: tuxcat names cat."""
    stem = _strip_count(word)
    if len(stem) < 3:
        return False
    longer = [part for part in parts if len(part) >= len(stem) + 2]
    return stem in parts or any(part.endswith(stem) for part in longer)


def _list_class_words(facts: LoraFacts) -> tuple[str, ...]:
    return tuple(known.casefold() for known in facts.words if split_words(known))


def _strip_count(word: str) -> str:
    """A word without the number that some tags start with: 1girl is a girl."""
    return word.casefold().lstrip("0123456789+")
