"""The branches' texts: each with one LoRA's trigger, the others' taken out, and where the words then stand."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clora_ext.prompt.tags import Span
from clora_ext.prompt.words import Bracket, Lexed, Run, lex

_SPACES = " \t_"
_EDGES = "([,:|\n\r.;"


@dataclass(frozen=True, slots=True)
class Place:
    """The characters of a subject's words in one branch's text, and of its trigger's, one span per word.

    ``trigger`` is empty outside of the subject's own branch and for a LoRA without a trigger.
    """

    subject: tuple[Span, ...]
    trigger: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Cast:
    """A bound subject's words and trigger in the prompt; ``insert`` is a trigger that does not stand there.

    ``style`` are the words of the prompt that are triggers of styles on this subject alone, ``append`` such triggers
    that do not stand there.
    """

    subject: Run
    trigger: Run = ()
    insert: str | None = None
    style: Run = ()
    append: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str = ""


def branch(lexed: Lexed, casts: Sequence[Cast], own: int | None) -> tuple[str, tuple[Place, ...]]:
    """The text of branch ``own``, an index of ``casts`` or ``None`` for the base, and all subjects' places in it."""
    keep = {index for cast in casts for index in cast.subject}
    if own is not None:
        keep.update(casts[own].trigger, casts[own].style)
    gone = {index for cast in casts for index in (*cast.trigger, *cast.style)} - keep
    edits = _removals(lexed, gone)
    insert = None if own is None else casts[own].insert
    if own is not None and insert is not None:
        at = lexed.words[casts[own].subject[0]].start
        edits = sorted([*edits, _Edit(at, at, f"{insert} ")], key=lambda edit: (edit.start, edit.end))
    if own is not None and casts[own].append:
        edits.append(_appending(lexed.text, edits, casts[own].append))
    places = tuple(
        Place(_moved(lexed, cast.subject, edits), _trigger_spans(lexed, cast, edits) if index == own else ())
        for index, cast in enumerate(casts)
    )
    return _apply(lexed.text, edits), places


def _appending(text: str, edits: Sequence[_Edit], triggers: Iterable[str]) -> _Edit:
    """What to put at the end of ``text``, in place of spaces and commas there that no other edit takes."""
    end = len(text.rstrip(_SPACES + ",\n"))
    start = end if all(edit.end <= end for edit in edits) else len(text)
    return _Edit(start, len(text), "".join(f", {trigger.strip()}" for trigger in triggers))


def _apply(text: str, edits: Iterable[_Edit]) -> str:
    parts: list[str] = []
    position = 0
    for edit in edits:
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, text[position:]])


def _shift(position: int, edits: Iterable[_Edit]) -> int:
    """How far the edits move what starts at ``position``."""
    return sum(len(edit.text) - (edit.end - edit.start) for edit in edits if edit.end <= position)


def _moved(lexed: Lexed, run: Run, edits: Sequence[_Edit]) -> tuple[Span, ...]:
    spans: list[Span] = []
    for index in run:
        word = lexed.words[index]
        start = word.start + _shift(word.start, edits)
        spans.append((start, start + len(word.text)))
    return tuple(spans)


def _trigger_spans(lexed: Lexed, cast: Cast, edits: Sequence[_Edit]) -> tuple[Span, ...]:
    if cast.insert is None:
        return _moved(lexed, cast.trigger, edits)
    subject = lexed.words[cast.subject[0]].start
    start = subject + _shift(subject, edits) - len(cast.insert) - 1
    return tuple((start + word.start, start + word.end) for word in lex(cast.insert).words)


def _removals(lexed: Lexed, gone: set[int]) -> list[_Edit]:
    """What to delete so that the words ``gone`` leave no empty brackets, doubled spaces or commas behind."""
    spans = [(lexed.words[index].start, lexed.words[index].end) for index in sorted(gone)]
    spans = _joined(lexed.text, _with_brackets(lexed.text, lexed.brackets, spans))
    return [_widened(lexed.text, start, end) for start, end in spans]


def _with_brackets(text: str, brackets: Iterable[Bracket], spans: list[Span]) -> list[Span]:
    """Take along brackets that would hold nothing any more; ``brackets`` come inner ones first."""
    for bracket in brackets:
        start, end = bracket.inner
        inside = [span for span in spans if start <= span[0] and span[1] <= end]
        rest = _apply(text[start:end], [_Edit(first - start, last - start) for first, last in inside])
        if inside and not rest.strip(_SPACES + ","):
            spans = sorted([*(span for span in spans if span not in inside), bracket.outer])
    return spans


def _joined(text: str, spans: list[Span]) -> list[Span]:
    """Make one of neighbours with only spaces and commas between them."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and not text[joined[-1][1] : start].strip(_SPACES + ","):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _widened(text: str, start: int, end: int) -> _Edit:
    """The removal of ``start`` to ``end`` with the comma or the space that it would leave over."""
    left, right = text[:start].rstrip(_SPACES), text[end:].lstrip(_SPACES)
    left_gap, right_gap = start - len(left), len(text) - end - len(right)
    at_left = not left or left[-1] in _EDGES or re.search(r"\bBREAK\Z", left) is not None
    at_right = not right or right[0] in ")],:|\n\r.;" or re.match(r"BREAK\b", right) is not None
    if right.startswith(",") and at_left:
        after = right[1:].lstrip(" \t")
        return _Edit(start, len(text) - len(after))
    if left.endswith(",") and at_right:
        return _Edit(len(left) - 1, end)
    if right_gap and (left_gap or at_left):
        return _Edit(start, end + right_gap)
    if left_gap and at_right:
        return _Edit(start - left_gap, end)
    return _Edit(start, end)
