"""A prompt as words, phrases and brackets; emphasis and escapes are seen, never changed."""

import re
from dataclasses import dataclass
from typing import Literal

from clora_ext.errors import PromptError
from clora_ext.prompt import vocabulary
from clora_ext.prompt.tags import Span

Gap = Literal["soft", "comma", "hard"]
"""What stands between a word and the next: spaces, underscores, brackets and weights are soft."""

Run = tuple[int, ...]
"""Indices into ``Lexed.words``, in order."""

_LEXEME = re.compile(
    r"""
    (?P<escape>\\.)
  | (?P<weight>:\s*[+-]?[.\d]+\s*(?=[)\]]))
  | (?P<word>[^\W_]+(?:-[^\W_]+)*(?:['\u2019](?!s(?![^\W_]))[^\W_]+)*)
  | (?P<soft>['\u2019]s(?![^\W_])|[ \t_"'\u2018\u2019\u201c\u201d*~]+)
  | (?P<open>[(\[])
  | (?P<close>[)\]])
  | (?P<comma>[,\uff0c\u3001])
  | (?P<hard>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_AND = re.compile(r"\bAND\b")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text, its characters and what follows it."""

    text: str
    start: int
    end: int
    after: Gap
    scheduled: bool = False
    """Whether it stands in ``[a:b:0.5]`` or ``[a|b]``, and so only in some of the steps."""

    @property
    def key(self) -> str:
        """What words are compared by."""
        return self.text.casefold()


@dataclass(frozen=True, slots=True)
class Bracket:
    """A pair of brackets; ``inner`` is what it holds but for the weight, ``outer`` all of it."""

    outer: Span
    inner: Span
    scheduled: bool


@dataclass(frozen=True, slots=True)
class Lexed:
    """A prompt without tags, read once."""

    text: str
    words: tuple[Word, ...]
    brackets: tuple[Bracket, ...]
    phrases: tuple["Phrase", ...] = ()

    def free(self, run: Run) -> bool:
        """Whether the words stand in the text at every step."""
        return not any(self.words[index].scheduled for index in run)

    def joined(self, run: Run) -> str:
        """The words as they are written, one space between."""
        return " ".join(self.words[index].text for index in run)

    def phrase_of(self, index: int) -> int:
        """Which of ``phrases`` holds the word ``index``."""
        return next(number for number, phrase in enumerate(self.phrases) if phrase.first <= index < phrase.stop)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words ``first`` to ``stop`` (excluded); ``head`` is the noun that the others describe, if it can be told."""

    first: int
    stop: int
    head: int | None


def lex(text: str) -> Lexed:
    """Read a prompt without tags. Raises ``PromptError`` for ``AND``, which makes several pictures' conditions."""
    if _AND.search(text):
        msg = "AND is not supported together with bound LoRAs; write “and”, or a comma, in the prompt instead."
        raise PromptError(msg, field="prompt")
    lexemes = list(_LEXEME.finditer(text))
    brackets = _brackets(lexemes)
    scheduled = [bracket.inner for bracket in brackets if bracket.scheduled]
    places = [index for index, found in enumerate(lexemes) if found.lastgroup == "word" and found[0] != "BREAK"]
    words = tuple(
        Word(
            text=lexemes[place][0],
            start=lexemes[place].start(),
            end=lexemes[place].end(),
            after=_gap(lexemes[place + 1 : following]),
            scheduled=any(start <= lexemes[place].start() < stop for start, stop in scheduled),
        )
        for place, following in zip(places, [*places[1:], len(lexemes)], strict=False)
    )
    return Lexed(text, words, brackets, tuple(_phrases(words)))


def find(lexed: Lexed, words: tuple[str, ...], *, across_commas: bool = False) -> tuple[Run, ...]:
    """Every place where ``words`` (compared without case) stand one after the other."""
    wanted = tuple(word.casefold() for word in words)
    keys = tuple(word.key for word in lexed.words)
    allowed = ("soft", "comma") if across_commas else ("soft",)
    return tuple(
        tuple(range(start, start + len(wanted)))
        for start in range(len(keys) - len(wanted) + 1)
        if keys[start : start + len(wanted)] == wanted
        and all(lexed.words[index].after in allowed for index in range(start, start + len(wanted) - 1))
    )


def gap(text: str) -> Gap:
    """What kind of gap ``text``, which stands between two words, makes."""
    return _gap(list(_LEXEME.finditer(text)))


def split(text: str) -> tuple[str, ...]:
    """The words of a phrase somebody names: a subject, a trigger."""
    return tuple(found[0] for found in _LEXEME.finditer(text) if found.lastgroup == "word")


def read_phrase(words: tuple[Word, ...], first: int, *, limit: int | None = None, described: bool = False) -> Phrase:
    """The noun phrase from word ``first`` on; it ends before a stop word, at punctuation or at character ``limit``.

    ``described`` says that its noun came before ``first``, so a word in -ing tells what it does and ends the phrase.
    """
    head: int | None = None
    nouns = 0
    index = first
    while index < len(words) and (limit is None or words[index].start < limit):
        kind = vocabulary.kind(words[index].text)
        if kind == "of" and head is not None and words[head].key in vocabulary.FRAMING:
            head, nouns = None, 0
        elif kind in ("of", "stop") or (kind == "participle" and (nouns or described)):
            break
        elif kind == "determiner" and nouns:
            # “cat licks a dog”: a verb we do not know may stand between two nouns
            return Phrase(first, index, head if nouns == 1 else None)
        elif kind == "content":
            head = index
            nouns += 1
        index += 1
        if words[index - 1].after != "soft":
            break
    return Phrase(first, index, head)


def _phrases(words: tuple[Word, ...]) -> list[Phrase]:
    """The whole prompt cut into phrases; a stop word is a phrase of its own."""
    phrases: list[Phrase] = []
    index = 0
    while index < len(words):
        phrase = read_phrase(words, index)
        if phrase.stop == index:
            phrase = Phrase(index, index + 1, None)
        phrases.append(phrase)
        index = phrase.stop
    return phrases


def _gap(between: list[re.Match[str]]) -> Gap:
    kinds = {"hard" if found.lastgroup in ("hard", "escape", "word") else found.lastgroup for found in between}
    if "hard" in kinds:
        return "hard"
    return "comma" if "comma" in kinds else "soft"


def _brackets(lexemes: list[re.Match[str]]) -> tuple[Bracket, ...]:
    """Matching pairs, inner ones first; a bracket without its partner is left alone."""
    found: list[Bracket] = []
    stack: list[int] = []
    for index, lexeme in enumerate(lexemes):
        if lexeme.lastgroup == "open":
            stack.append(index)
        elif lexeme.lastgroup == "close" and stack:
            if (lexemes[stack[-1]][0] == "[") != (lexeme[0] == "]"):
                stack.clear()  # crossed brackets pair with nothing
                continue
            found.append(_bracket(lexemes, stack.pop(), index))
    return tuple(found)


def _bracket(lexemes: list[re.Match[str]], opening: int, closing: int) -> Bracket:
    start, end = lexemes[opening].start(), lexemes[closing].end()
    weighted = lexemes[closing - 1].lastgroup == "weight"
    depth = 0
    bars = False
    for lexeme in lexemes[opening + 1 : closing]:
        depth += {"open": 1, "close": -1}.get(lexeme.lastgroup or "", 0)
        bars = bars or (depth == 0 and lexeme[0] == "|")
    inner = (lexemes[opening].end(), lexemes[closing - 1 if weighted else closing].start())
    return Bracket((start, end), inner, scheduled=lexemes[opening][0] == "[" and (weighted or bars))
