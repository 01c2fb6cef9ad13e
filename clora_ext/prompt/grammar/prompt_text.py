"""A prompt without tags, read once: its words, brackets and phrases, and where given words stand."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from clora_ext.prompt.grammar.lexer import Bracket, Gap, Word, lex
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

    def find(self, words: Iterable[str], *, across_commas: bool = False) -> tuple[WordSpan, ...]:
        """Every place where ``words``, at least one, stand one after the other. Case does not matter."""
        wanted = tuple(word.casefold() for word in words)
        gaps: tuple[Gap, ...] = ("soft", "comma") if across_commas else ("soft",)
        spans: list[WordSpan] = []
        for start in range(len(self.words) - len(wanted) + 1):
            stop = start + len(wanted)
            if self.keys[start:stop] == wanted and self._has_gaps(start, stop, gaps):
                spans.append(tuple(range(start, stop)))
        return tuple(spans)

    def _has_gaps(self, start: int, stop: int, gaps: Container[Gap]) -> bool:
        """Whether only ``gaps`` stand between the words ``start`` to ``stop``."""
        inner = self.words[start : stop - 1]
        return all(word.after in gaps for word in inner)


def read_prompt_text(string: str) -> PromptText:
    """Read a prompt without tags. Raises ``PromptError`` for ``AND``."""
    words, brackets = lex(string)
    phrases = split_phrases(words)
    keys = tuple(word.key for word in words)
    return PromptText(string, words, brackets, phrases, keys, _number_words(phrases))


def _number_words(phrases: Sequence[Phrase]) -> tuple[int, ...]:
    numbers: list[int] = []
    for number, phrase in enumerate(phrases):
        numbers += [number] * (phrase.stop - phrase.first)
    return tuple(numbers)
