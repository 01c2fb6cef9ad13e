"""Every branch's text: with one LoRA's trigger, the others' taken out, and where the words then stand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from clora_ext.prompt.grammar.edits import SPACES, TextEdit, apply_edits, move_position, remove_words
from clora_ext.prompt.grammar.lexer import lex
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import Span, WordSpan
from clora_ext.prompt.rules.subjects import BoundWords


@dataclass(frozen=True, slots=True)
class SubjectPlace:
    """The characters of a subject's words in one branch's text, and of its trigger's, one span per word."""

    subject: tuple[Span, ...]
    trigger: tuple[Span, ...] = ()
    """Empty outside of the subject's own branch, and for a LoRA without a trigger."""


@dataclass(frozen=True, slots=True)
class BranchText:
    """One branch's text, and the place of every subject in it."""

    text: str
    places: tuple[SubjectPlace, ...]


def write_branches(text: PromptText, subjects: Sequence[BoundWords]) -> tuple[BranchText, ...]:
    """The base, without any subject's trigger, and one branch for each of ``subjects``.

    Raises ``PromptError`` for ``AND`` in a trigger that is put in.
    """
    branches = [_write_branch(text, subjects, None)]
    for own in range(len(subjects)):
        branches.append(_write_branch(text, subjects, own))
    return tuple(branches)


def _write_branch(text: PromptText, subjects: Sequence[BoundWords], own: int | None) -> BranchText:
    """Branch ``own``, an index of ``subjects`` or ``None`` for the base."""
    edits = remove_words(text, _find_gone(subjects, own))
    if own is not None:
        edits = _add_triggers(text, subjects[own], edits)
    edits = _stand_in(text, subjects, own, edits)
    places: list[SubjectPlace] = []
    for index, words in enumerate(subjects):
        subject = _find_subject(text, words, edits, own=index == own)
        trigger = _find_trigger(text, words, edits) if index == own else ()
        places.append(SubjectPlace(subject, trigger))
    return BranchText(apply_edits(text.string, edits), tuple(places))


def _stand_in(
    text: PromptText, subjects: Sequence[BoundWords], own: int | None, edits: Iterable[TextEdit]
) -> list[TextEdit]:
    """``edits`` with the words that stand for names of others."""
    made = list(edits)
    for index, words in enumerate(subjects):
        if words.stand_in is not None and index != own:
            start, end = _find_whole(text, words.subject)
            made.append(TextEdit(start, end, words.stand_in))
    return sorted(made, key=attrgetter("start", "end"))


def _find_whole(text: PromptText, words: WordSpan) -> Span:
    """The characters of a name, with the brackets that begin within it."""
    start, end = text.words[words[0]].start, text.words[words[-1]].end
    closing = [bracket.outer[1] for bracket in text.brackets if start <= bracket.outer[0] < end]
    return start, max([end, *closing])


def _find_subject(text: PromptText, words: BoundWords, edits: Sequence[TextEdit], *, own: bool) -> tuple[Span, ...]:
    """The characters of a subject after ``edits``, in its ``own`` branch or in another."""
    if words.stand_in is None or own:
        return _move_words(text, words.subject, edits)
    start = move_position(text.words[words.subject[0]].start, edits)
    return ((start, start + len(words.stand_in)),)


def _find_gone(subjects: Sequence[BoundWords], own: int | None) -> set[int]:
    """The words that branch ``own`` lacks: triggers of the others, but for words of a subject and its own trigger."""
    keep: set[int] = set()
    gone: set[int] = set()
    for index, words in enumerate(subjects):
        keep.update(words.subject)
        triggers = keep if index == own else gone
        triggers.update(words.trigger, words.style)
    return gone - keep


def _add_triggers(text: PromptText, words: BoundWords, edits: Iterable[TextEdit]) -> list[TextEdit]:
    """``edits`` with the triggers that do not stand in the prompt put in, before the subject and at the end."""
    made = list(edits)
    if words.insert is not None:
        start = text.words[words.subject[0]].start
        made.append(TextEdit(start, start, f"{words.insert} "))
        made.sort(key=attrgetter("start", "end"))
    if words.append:
        made.append(_append_at_end(text.string, made, words.append))
    return made


def _append_at_end(string: str, edits: Iterable[TextEdit], triggers: Iterable[str]) -> TextEdit:
    """``triggers`` at the end, in place of spaces and commas there that no other edit takes."""
    end = len(string.rstrip(SPACES + ",\n"))
    is_free = all(edit.end <= end for edit in edits)
    start = end if is_free else len(string)
    added = "".join(f", {trigger.strip()}" for trigger in triggers)
    return TextEdit(start, len(string), added)


def _move_words(text: PromptText, words: WordSpan, edits: Sequence[TextEdit]) -> tuple[Span, ...]:
    """The characters of ``words`` after ``edits``."""
    spans: list[Span] = []
    for index in words:
        word = text.words[index]
        start = move_position(word.start, edits)
        spans.append((start, start + len(word.text)))
    return tuple(spans)


def _find_trigger(text: PromptText, words: BoundWords, edits: Sequence[TextEdit]) -> tuple[Span, ...]:
    """The characters of the trigger in its own branch."""
    if words.insert is None:
        return _move_words(text, words.trigger, edits)
    subject = text.words[words.subject[0]].start
    start = move_position(subject, edits) - len(words.insert) - 1
    inserted, _ = lex(words.insert)
    return tuple((start + word.start, start + word.end) for word in inserted)
