"""Words written into a prompt for somebody."""

import re

from clora_ext.prompt.grammar.edits import TextEdit
from clora_ext.prompt.grammar.lexer import split_words
from clora_ext.prompt.grammar.prompt_text import read_prompt_text
from clora_ext.prompt.grammar.tags import TAG_PATTERN, remove_tags

_COMMENT = re.compile(r"#[^\n]*")


def add_words(prompt: str, words: str, subject: str | None = None, occurrence: int | None = None) -> TextEdit:
    """``words`` before place ``occurrence`` of ``subject``, from 1; at the end where it does not stand there.

    The end is before the tags that nothing follows, for a tag in front of words may be theirs, and before a comment,
    which WebUI takes out (modules/processing_scripts/comments.py). Raises ``PromptError`` for ``AND``.
    """
    text = read_prompt_text(_COMMENT.sub(lambda comment: " " * len(comment[0]), remove_tags(prompt)))
    places = text.find(split_words(subject)) if subject and split_words(subject) else ()
    if places:
        place = places[min(occurrence or 1, len(places)) - 1]
        start = _with_tags(prompt, text.words[place[0]].start, after=True)
        return TextEdit(start, start, f"{words} ")
    end = len(text.string.rstrip(" \t\r\n,"))
    start = _with_tags(prompt, end, after=False)
    return TextEdit(start, start, f", {words}" if end else f"{words} ")


def _with_tags(prompt: str, position: int, *, after: bool) -> int:
    """Where ``position`` of ``prompt`` without tags lies in it, ``after`` tags at that place or before them."""
    for tag in TAG_PATTERN.finditer(prompt):
        if tag.start() > position or (tag.start() == position and not after):
            break
        position += len(tag[0])
    return position
