"""A prompt without tags, read once: its words, brackets and phrases, and where given words stand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from clora_ext.prompt.grammar.lexer import Bracket, Word, lex, split_parts
from clora_ext.prompt.grammar.phrases import Phrase, split_phrases
from clora_ext.prompt.grammar.spans import WordSpan


@dataclass(frozen=True, slots=True)
class PromptText:
    """What was read of ``string``."""

    string: str
    words: tuple[Word, ...]
    brackets: tuple[Bracket, ...]
    """Inner ones first."""
    phrases: tuple[Phrase, ...]
    """All words, cut into phrases."""
    keys: tuple[str, ...]
    """What each word is compared by."""
    parts: tuple[tuple[str, ...], ...]
    """Each word cut at the signs within it."""
    phrase_numbers: tuple[int, ...]
    """For each word, which of ``phrases`` holds it."""

    def join(self, span: WordSpan) -> str:
        """The words as they are written, one space between."""
        return " ".join(self.words[index].text for index in span)

    def keys_of(self, span: WordSpan) -> tuple[str, ...]:
        """What the words are compared by."""
        return tuple(self.keys[index] for index in span)

    def in_every_step(self, span: WordSpan) -> bool:
        """Whether none of the words is in a schedule."""
        return not any(self.words[index].scheduled for index in span)

    def phrase_at(self, index: int) -> Phrase:
        """The phrase that holds the word ``index``."""
        number = self.phrase_numbers[index]
        return self.phrases[number]

    def phrases_of(self, span: WordSpan) -> frozenset[int]:
        """Which of ``phrases`` the words are in."""
        return frozenset(self.phrase_numbers[index] for index in span)

    def find(self, words: Iterable[str]) -> tuple[WordSpan, ...]:
        """Every place where ``words``, at least one, stand one after the other.

        Letters are compared, not case and not the signs that names have within: “R2-D2” is “r2 d2”.
        """
        wanted = split_parts(words)
        spans: list[WordSpan] = []
        for start in range(len(self.words)):
            stop = self._match(start, wanted)
            if stop is not None:
                spans.append(tuple(range(start, stop)))
        return tuple(spans)

    def _match(self, start: int, wanted: Sequence[str]) -> int | None:
        """Where ``wanted`` ends if it stands from word ``start`` on."""
        left, index = tuple(wanted), start
        while left:
            inside = index > start and self.words[index - 1].joint != "soft"
            if inside or index == len(self.words):
                return None
            parts = self.parts[index]
            if left[: len(parts)] != parts:
                return None
            left = left[len(parts) :]
            index += 1
        return index


@lru_cache(maxsize=16)
def read_prompt_text(string: str) -> PromptText:
    """Read a prompt without tags; the last ones are kept. Raises ``PromptError`` for ``AND``."""
    words, brackets = lex(string)
    phrases = split_phrases(words)
    keys = tuple(word.key for word in words)
    parts = tuple(split_parts([key]) for key in keys)
    return PromptText(string, words, brackets, phrases, keys, parts, _number_words(phrases))


def _number_words(phrases: Sequence[Phrase]) -> tuple[int, ...]:
    numbers: list[int] = []
    for number, phrase in enumerate(phrases):
        numbers += [number] * (phrase.stop - phrase.first)
    return tuple(numbers)
