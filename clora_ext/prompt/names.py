"""Which words of a prompt a LoRA's file name or training tags name."""

import re

from clora_ext.prompt import vocabulary
from clora_ext.prompt.asks import LoraFacts
from clora_ext.prompt.words import Lexed, Run, find, split

_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\dA-Z_]+|[A-Z]+")
_HASH = re.compile(r"[0-9a-f]{8,}")


def name_words(name: str) -> tuple[str, ...]:
    """The words in a file name, small letters: split at signs, digits and capitals; none of two letters or fewer.

    >>> name_words("animals/my_tuxCat-v2")
    ('tux', 'cat')
    """
    stem = re.split(r"[/\\]", name)[-1]
    if _HASH.fullmatch(stem):
        return ()
    parts = [part.casefold() for part in _CAMEL.findall(stem)]
    return tuple(part for part in parts if len(part) > 2 and part not in vocabulary.GENERIC_NAMES)


def named_in_file(facts: LoraFacts, word: str) -> bool:
    """Whether the file name has ``word``, alone or as the end of a longer word (tuxcat names cat)."""
    stem = _stem(word)
    if len(stem) < 3:
        return False
    parts = {part for name in (facts.name, *facts.aliases) for part in name_words(name)}
    return stem in parts or any(part.endswith(stem) and len(part) >= len(stem) + 2 for part in parts)


def named(facts: LoraFacts, word: str) -> bool:
    """Whether file name or class words name ``word``."""
    return named_in_file(facts, word) or any(split(known)[-1:] == (word.casefold(),) for known in _classes(facts))


def by_name(lexed: Lexed, facts: LoraFacts) -> tuple[Run, ...]:
    """The nouns of the prompt that the LoRA names: “cat” of “a fluffy cat”, not of “cat ears”.

    Those of its file name if there are any, else those of its class words.
    """
    heads = {phrase.head for phrase in lexed.phrases}
    return _named(lexed, facts, [index for index in _usable(lexed) if index in heads])


def by_any_name(lexed: Lexed, facts: LoraFacts) -> tuple[Run, ...]:
    """As ``by_name`` for any word; with one that stands before a noun that noun, as either may be meant."""
    runs = _named(lexed, facts, _usable(lexed))
    heads = [lexed.phrases[lexed.phrase_of(run[-1])].head for run in runs]
    return tuple(sorted({*runs, *((head,) for head in heads if head in _usable(lexed))}))


def _usable(lexed: Lexed) -> list[int]:
    """The words that can be a subject, at every step."""
    words = enumerate(lexed.words)
    return [index for index, word in words if vocabulary.can_be_subject(word.text) and not word.scheduled]


def _named(lexed: Lexed, facts: LoraFacts, allowed: list[int]) -> tuple[Run, ...]:
    runs = tuple((index,) for index in allowed if named_in_file(facts, lexed.words[index].text))
    if runs:
        return runs
    found = {
        run[-1]: run
        for known in sorted(_classes(facts), key=len)
        for run in (*find(lexed, split(known)), *_stems(lexed, known, allowed))
        if run[-1] in allowed
    }
    return tuple(found[last] for last in sorted(found))


def _classes(facts: LoraFacts) -> tuple[str, ...]:
    return tuple(known.casefold() for known in facts.words if split(known))


def _stems(lexed: Lexed, known: str, allowed: list[int]) -> tuple[Run, ...]:
    return tuple((index,) for index in allowed if _stem(lexed.words[index].text) == known)


def _stem(word: str) -> str:
    """A word without the number that some tags start with: 1girl is a girl."""
    return word.casefold().lstrip("0123456789+")
