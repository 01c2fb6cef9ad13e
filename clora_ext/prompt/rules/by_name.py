"""Which words of a prompt a LoRA's file name or training tags name."""

import re
from collections.abc import Collection
from functools import lru_cache

from clora_ext.errors import PromptError
from clora_ext.prompt.grammar import vocabulary
from clora_ext.prompt.grammar.lexer import lex, split_words
from clora_ext.prompt.grammar.nouns import is_being, is_class, is_common
from clora_ext.prompt.grammar.phrases import read_phrase
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.grammar.tags import lora_key
from clora_ext.prompt.rules.facts import LoraFacts

_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\dA-Z_]+|[A-Z]+")
_LONGEST_TAG = 3
"""Words of a tag that may be an activation text; longer ones are captions."""
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
    """Whether file name or training tags name ``word``."""
    return is_in_file_name(facts, word) or _strip_count(word) in list_kinds(facts.words)


def is_in_file_name(facts: LoraFacts, word: str) -> bool:
    """Whether the file's name names ``word``."""
    names, parts = _split_names((facts.name, *facts.aliases))
    return word.casefold() in names or _in_file_name(parts, word)


@lru_cache(maxsize=256)
def list_kinds(tags: tuple[str, ...]) -> frozenset[str]:
    """What kinds of things training tags and captions are about: “dog” of “a photo of a zorv dog on a sofa”.

    Beings if there are any, for what they wear and what is around them has tags as well; else things.
    """
    heads: set[str] = set()
    for tag in tags:
        heads.update(_find_head(tag))
    beings = frozenset(head for head in heads if is_being(head))
    return beings or frozenset(head for head in heads if is_class(head))


def _find_head(caption: str) -> tuple[str, ...]:
    """The noun that a caption begins with, without a number before it."""
    try:
        words, _ = lex(caption)
    except PromptError:  # AND
        return ()
    head = read_phrase(words, 0).head if words else None
    return () if head is None else (_strip_count(words[head].text),)


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
    """The words that the file name has, else those of the kinds in its training tags, or of tags that are no kind.

    With both of these the prompt does not tell, unless the kind is a count: “1girl, zorv”. All end in ``allowed``.
    """
    spans = tuple((index,) for index in allowed if is_in_file_name(facts, text.words[index].text))
    if spans:
        return spans
    kinds = list_kinds(facts.words)
    of_kind = {(index,) for index in allowed if _strip_count(text.words[index].text) in kinds}
    if any(vocabulary.is_count(text.words[span[0]].text) for span in of_kind):
        return tuple(sorted(of_kind))
    return tuple(sorted(of_kind | _find_tags(text, facts, allowed)))


def _find_tags(text: PromptText, facts: LoraFacts, allowed: Collection[int]) -> set[WordSpan]:
    """Where training tags stand that are no common noun, as an activation text without a note; long ones first."""
    found: dict[int, WordSpan] = {}
    for tag in sorted(_list_class_words(facts), key=len):
        words = split_words(tag)
        if len(words) <= _LONGEST_TAG and not is_common(words[-1]):
            found |= {span[-1]: span for span in text.find(words) if span[-1] in allowed}
    return set(found.values())


@lru_cache(maxsize=256)
def _split_names(names: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """A LoRA's names as they are compared, and the words in them."""
    parts = (part for name in names for part in split_file_name(name))
    return frozenset(map(lora_key, names)), frozenset(parts)


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
