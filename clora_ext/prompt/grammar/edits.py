"""Changes of a text: words taken out without a scar, and where everything else then stands."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from clora_ext.prompt.grammar.lexer import Bracket
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import Span

SPACES = " \t_"
"""What separates words, and nothing more."""

_PART_ENDS = "([,:|\n\r.;"
_PART_STARTS = ")],:|\n\r.;"


@dataclass(frozen=True, slots=True)
class TextEdit:
    """Characters ``start`` to ``end`` (excluded) of a text give way to ``text``."""

    start: int
    end: int
    text: str = ""


def apply_edits(string: str, edits: Iterable[TextEdit]) -> str:
    """``string`` with all ``edits``, which are in order and do not overlap."""
    parts: list[str] = []
    position = 0
    for edit in edits:
        parts += [string[position : edit.start], edit.text]
        position = edit.end
    parts.append(string[position:])
    return "".join(parts)


def move_position(position: int, edits: Iterable[TextEdit]) -> int:
    """Where what starts at ``position`` stands after ``edits``."""
    moved = position
    for edit in edits:
        if edit.end <= position:
            moved += len(edit.text) - (edit.end - edit.start)
    return moved


def remove_words(text: PromptText, words: Collection[int]) -> list[TextEdit]:
    """What to take out so that ``words`` leave no empty brackets, doubled spaces or commas behind."""
    spans: list[Span] = []
    for index in sorted(words):
        word = text.words[index]
        spans.append((word.start, word.end))
    spans = _add_brackets(text.string, text.brackets, spans)
    return [_widen(text.string, start, end) for start, end in _join(text.string, spans)]


def _add_brackets(string: str, brackets: Iterable[Bracket], spans: list[Span]) -> list[Span]:
    """Take along brackets that would hold nothing any more; ``brackets`` come inner ones first."""
    for bracket in brackets:
        start, end = bracket.inner
        inside = [span for span in spans if start <= span[0] and span[1] <= end]
        if inside and _is_left_empty(string, bracket.inner, inside):
            outside = [span for span in spans if span not in inside]
            spans = sorted([*outside, bracket.outer])
    return spans


def _is_left_empty(string: str, inner: Span, removed: Iterable[Span]) -> bool:
    """Whether only spaces and commas stay of ``inner`` when ``removed`` is taken out."""
    start, end = inner
    edits = [TextEdit(first - start, last - start) for first, last in removed]
    rest = apply_edits(string[start:end], edits)
    return not rest.strip(SPACES + ",")


def _join(string: str, spans: Iterable[Span]) -> list[Span]:
    """Make one of neighbours with only spaces and commas between them."""
    joined: list[Span] = []
    for start, end in spans:
        last = joined[-1] if joined else None
        if last is not None and not string[last[1] : start].strip(SPACES + ","):
            joined[-1] = (last[0], end)
        else:
            joined.append((start, end))
    return joined


def _widen(string: str, start: int, end: int) -> TextEdit:
    """The removal of ``start`` to ``end`` with the comma or the space that it would leave over."""
    left = string[:start].rstrip(SPACES)
    right = string[end:].lstrip(SPACES)
    space_left = len(left) < start
    space_right = len(right) < len(string) - end
    opens = _ends_part(left)
    closes = _starts_part(right)
    if opens and right.startswith(","):
        after = right[1:].lstrip(" \t")
        return TextEdit(start, len(string) - len(after))
    if closes and left.endswith(","):
        return TextEdit(len(left) - 1, end)
    if space_right and (space_left or opens):
        return TextEdit(start, len(string) - len(right))
    if space_left and closes:
        return TextEdit(len(left), end)
    return TextEdit(start, end)


def _ends_part(left: str) -> bool:
    """Whether a new part of the prompt begins after ``left``."""
    if not left or left[-1] in _PART_ENDS:
        return True
    return re.search(r"\bBREAK\Z", left) is not None


def _starts_part(right: str) -> bool:
    """Whether a part of the prompt ends before ``right``."""
    if not right or right[0] in _PART_STARTS:
        return True
    return re.match(r"BREAK\b", right) is not None
