"""A prompt as words and brackets. Emphasis and escapes are recognised, never changed."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from clora_ext.errors import PromptError
from clora_ext.prompt.grammar.spans import Span

Gap = Literal["soft", "comma", "hard"]
"""What stands between a word and the next. Spaces, underscores, brackets and weights are soft."""

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
_PART = re.compile(r"[^\W_]+")
_ESCAPED_BRACKET = re.compile(r"\\[()\[\]]")
_WITHIN_NAMES = (".", ":", "/", "&", "+", "\u00b7")
_ABBREVIATIONS = frozenset(["mr", "mrs", "ms", "dr", "st", "jr", "sr", "prof", "lt", "sgt", "capt", "no", "vs"])
_HARD = frozenset(("hard", "escape", "word"))  # the only word between two words is BREAK
_AND = re.compile(r"\bAND\b")

_Lexeme = re.Match[str]


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text, its characters and what follows it."""

    text: str
    start: int
    end: int
    after: Gap
    scheduled: bool = False
    """Whether it stands in ``[a:b:0.5]`` or ``[a|b]``, and so in some of the steps only."""
    joint: Gap = "soft"
    """As ``after`` within a name, where escaped brackets and single signs between letters are soft: “d.va”."""
    owns: bool = False
    """Whether “'s” follows."""

    @property
    def key(self) -> str:
        """What words are compared by."""
        return self.text.casefold()


@dataclass(frozen=True, slots=True)
class Bracket:
    """A pair of brackets."""

    outer: Span
    """Its characters with both signs and the weight."""
    inner: Span
    """The characters that it holds, without the weight."""
    scheduled: bool
    """Whether it is a schedule: ``[a:b:0.5]`` or ``[a|b]``."""


def lex(text: str) -> tuple[tuple[Word, ...], tuple[Bracket, ...]]:
    """The words of a prompt without tags, in order, and its brackets, inner ones first.

    Raises ``PromptError`` for ``AND``, which makes conditions of several pictures.
    """
    if _AND.search(text):
        msg = "AND is not supported together with bound LoRAs; write “and”, or a comma, in the prompt instead."
        raise PromptError(msg, field="prompt")
    lexemes = list(_LEXEME.finditer(text))
    brackets = _pair_brackets(lexemes)
    words = _read_words(lexemes, brackets)
    return words, brackets


def split_words(text: str) -> tuple[str, ...]:
    """The words of a phrase that somebody gives: a subject, a trigger."""
    lexemes = _LEXEME.finditer(text)
    return tuple(lexeme[0] for lexeme in lexemes if lexeme.lastgroup == "word")


def split_parts(words: Iterable[str]) -> tuple[str, ...]:
    """Words cut at every sign within them, in small letters: what names are compared by.

    >>> split_parts(["R2-D2", "O'Brien"])
    ('r2', 'd2', 'o', 'brien')
    """
    parts: list[str] = []
    for word in words:
        parts += _PART.findall(word.casefold())
    return tuple(parts)


def classify_gap(text: str) -> Gap:
    """What kind of gap ``text``, which stands between two words, makes."""
    return _classify(_LEXEME.finditer(text))


def _classify(between: Iterable[_Lexeme]) -> Gap:
    groups = {lexeme.lastgroup for lexeme in between}
    if groups & _HARD:
        return "hard"
    return "comma" if "comma" in groups else "soft"


def _read_words(lexemes: Sequence[_Lexeme], brackets: Iterable[Bracket]) -> tuple[Word, ...]:
    schedules = [bracket.inner for bracket in brackets if bracket.scheduled]
    places = [index for index, lexeme in enumerate(lexemes) if _is_word(lexeme)]
    words: list[Word] = []
    for place, following in pairwise([*places, len(lexemes)]):
        start, end = lexemes[place].span()
        between = lexemes[place + 1 : following]
        scheduled = any(first <= start < stop for first, stop in schedules)
        word = lexemes[place][0]
        owns = any(lexeme[0].endswith("s") and lexeme.lastgroup == "soft" for lexeme in between)
        words.append(Word(word, start, end, _classify(between), scheduled, _classify_joint(word, between), owns))
    return tuple(words)


def _classify_joint(word: str, between: Sequence[_Lexeme]) -> Gap:
    """The gap after ``word`` as it counts within a name."""
    left = [lexeme for lexeme in between if not _ESCAPED_BRACKET.fullmatch(lexeme[0])]
    if len(left) == 1 and left[0][0] in _WITHIN_NAMES:
        return "soft"
    if left and left[0][0] == "." and word.casefold() in _ABBREVIATIONS:
        left = left[1:]
    return _classify(left)


def _is_word(lexeme: _Lexeme) -> bool:
    return lexeme.lastgroup == "word" and lexeme[0] != "BREAK"


def _pair_brackets(lexemes: Sequence[_Lexeme]) -> tuple[Bracket, ...]:
    """The pairs that match, inner ones first. A bracket without its partner is left alone."""
    pairs: list[Bracket] = []
    openings: list[int] = []
    escaped: list[_Lexeme] = []
    for index, lexeme in enumerate(lexemes):
        if lexeme.lastgroup == "open":
            openings.append(index)
        elif lexeme.lastgroup == "close" and openings:
            signs = lexemes[openings[-1]][0] + lexeme[0]
            if signs in ("()", "[]"):
                pairs.append(_read_bracket(lexemes, openings.pop(), index))
            else:
                openings.clear()  # crossed brackets pair with nothing
        elif lexeme[0] == r"\(":
            escaped.append(lexeme)
        elif lexeme[0] == r"\)" and escaped:
            first = escaped.pop()
            pairs.append(Bracket((first.start(), lexeme.end()), (first.end(), lexeme.start()), scheduled=False))
    return tuple(pairs)


def _read_bracket(lexemes: Sequence[_Lexeme], opening: int, closing: int) -> Bracket:
    first, last = lexemes[opening], lexemes[closing]
    weighted = lexemes[closing - 1].lastgroup == "weight"
    content_end = closing - 1 if weighted else closing
    outer = (first.start(), last.end())
    inner = (first.end(), lexemes[content_end].start())
    scheduled = first[0] == "[" and (weighted or _has_alternatives(lexemes[opening + 1 : closing]))
    return Bracket(outer, inner, scheduled)


def _has_alternatives(lexemes: Iterable[_Lexeme]) -> bool:
    """Whether a bar stands among ``lexemes`` outside of further brackets."""
    depth = 0
    for lexeme in lexemes:
        if lexeme.lastgroup == "open":
            depth += 1
        elif lexeme.lastgroup == "close":
            depth -= 1
        elif depth == 0 and lexeme[0] == "|":
            return True
    return False
