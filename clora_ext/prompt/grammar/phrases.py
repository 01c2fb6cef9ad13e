"""Noun phrases: where one ends, and which of its words is the noun."""

from collections.abc import Sequence
from dataclasses import dataclass

from clora_ext.prompt.grammar import vocabulary
from clora_ext.prompt.grammar.lexer import Word
from clora_ext.prompt.grammar.nouns import PARTS


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words ``first`` to ``stop`` (excluded) of a prompt."""

    first: int
    stop: int
    head: int | None
    """The noun that the others describe, if it can be told."""


def read_phrase(words: Sequence[Word], first: int, *, limit: int | None = None, noun_before: bool = False) -> Phrase:
    """The noun phrase from word ``first`` on. It ends before a stop word, at punctuation or at character ``limit``.

    ``noun_before`` says that its noun stands before ``first``: a word in -ing then tells what it does, and ends the
    phrase.
    """
    head: int | None = None
    nouns = 0
    index = first
    while index < len(words) and (limit is None or words[index].start < limit):
        kind = vocabulary.classify(words[index].text)
        if kind == "of" and head is not None and _only_frames(words[head]):
            head, nouns = None, 0
        elif kind in ("of", "stop") or (kind in ("participle", "number") and (nouns or noun_before)):
            break
        elif kind == "determiner" and nouns:
            # “cat licks a dog”: a verb we do not know may stand between two nouns
            return Phrase(first, index, head if nouns == 1 else None)
        elif kind == "content" and not _belongs(words, head, index):
            head = index
            nouns += 1
        index += 1
        if words[index - 1].after != "soft":
            break
    return Phrase(first, index, head)


def _only_frames(noun: Word) -> bool:
    """Whether what follows after “of” is meant instead: “a photo of a cat”, “the face of a cat”."""
    return noun.key in vocabulary.FRAMING or noun.key in PARTS


def _belongs(words: Sequence[Word], head: int | None, index: int) -> bool:
    """Whether word ``index`` is a part or a picture of what ``head`` is: “the cat's face”."""
    return head is not None and words[head].owns and _only_frames(words[index])


def split_phrases(words: Sequence[Word]) -> tuple[Phrase, ...]:
    """All words cut into phrases. A stop word is a phrase of its own."""
    phrases: list[Phrase] = []
    index = 0
    while index < len(words):
        phrase = read_phrase(words, index)
        if phrase.stop == index:
            phrase = Phrase(index, index + 1, None)
        phrases.append(phrase)
        index = phrase.stop
    return tuple(phrases)
