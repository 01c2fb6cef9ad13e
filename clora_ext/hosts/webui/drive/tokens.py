"""Words to token columns, by the host's own chunker."""

from collections.abc import Hashable, Sequence
from typing import Any

from modules import prompt_parser, sd_hijack, shared

from clora_ext.batch.plan import Columns
from clora_ext.engine.port import TextForms
from clora_ext.errors import PromptError
from clora_ext.prompt import Span
from clora_ext.prompt.grammar.lexer import split_parts

_CHUNK = 75
"""Tokens of text per chunk (modules/sd_hijack_clip.py)."""
Placed = list[tuple[Hashable, int]]
"""(token, column) of a text. A token is its id; of a textual inversion its name and which of its vectors."""


def _chunker() -> Any:
    """The text encoder that cuts texts into chunks; where there are two (SDXL), both do it alike."""
    model = shared.sd_model.cond_stage_model
    encoders = getattr(model, "embedders", [model])
    return next(encoder for encoder in encoders if hasattr(encoder, "process_texts"))


def contents(text: str) -> Placed:
    """Every token of ``text`` but start, end and padding; commas may move chunks, BREAK pads.

    Chunks are padded with the end token. What the encoder itself is padded with may be a word (OpenCLIP's 0 is “!”).
    """
    chunker = _chunker()
    chunks, _ = chunker.process_texts([text])
    special = {chunker.id_start, chunker.id_end}
    found: Placed = []
    for number, chunk in enumerate(chunks[0]):
        start = number * (_CHUNK + 2)
        tokens = _with_vectors(chunk)
        found.extend((token, start + place) for place, token in enumerate(tokens) if token not in special)
    return found


def _with_vectors(chunk: Any) -> list[Hashable]:
    """The tokens of a chunk, with the vectors of textual inversions in place of the zeros that hold their places."""
    tokens: list[Hashable] = list(chunk.tokens)
    for offset, embedding in chunk.fixes:
        first = offset + 1  # after the start token
        for vector in range(int(embedding.vectors)):
            tokens[first + vector] = embedding.name, vector
    return tokens


def _tokens_of(text: str) -> list[Hashable]:
    return [token for token, _ in contents(text)]


def _names_of_embeddings() -> dict[tuple[str, ...], str]:
    """Of every textual inversion that is loaded, its name by the parts of it."""
    return {split_parts([name]): name for name in sd_hijack.model_hijack.embedding_db.word_embeddings}


def _join_embeddings(words: Sequence[str]) -> list[tuple[int, str]]:
    """``words`` with those that make up a textual inversion's name in one: how many they are, and the text."""
    names = _names_of_embeddings()
    longest = max(map(len, names), default=1)
    joined: list[tuple[int, str]] = []
    at = 0
    while at < len(words):
        counts = range(min(longest, len(words) - at), 0, -1)
        count = next((count for count in counts if split_parts(words[at : at + count]) in names), 1)
        name = names.get(split_parts(words[at : at + count]), words[at])
        joined.append((count, name))
        at += count
    return joined


def _starts(tokens: Sequence[Hashable], wanted: Sequence[Hashable]) -> list[int]:
    """Where ``wanted`` begins in ``tokens``."""
    size = len(wanted)
    return [at for at in range(len(tokens) - size + 1) if list(tokens[at : at + size]) == list(wanted)]


def columns_of(text: str, form: str, spans: Sequence[Span]) -> Columns:
    """The columns of the words at ``spans`` of ``text``, in the ``form`` that it takes at some steps.

    A word is found by its tokens and told apart by occurrence, so emphasis, BREAK and chunks do not matter; a textual
    inversion has all its vectors. Raises ``PromptError`` when it is not there at those steps.
    """
    found = contents(form)
    tokens = [token for token, _ in found]
    places: list[int] = []
    at = 0
    for count, word in _join_embeddings([text[start:stop] for start, stop in spans]):
        wanted = _tokens_of(word)
        before = len(_starts(_tokens_of(text[: spans[at][0]]), wanted))
        starts = _starts(tokens, wanted)
        if not wanted or before >= len(starts):
            msg = f"“{word}” is not in the prompt at every step; a subject must stay while it is edited."
            raise PromptError(msg, field="subject")
        first = starts[before]
        places.extend(range(first, first + len(wanted)))
        at += count
    return tuple(found[place][1] for place in places)


def columns_of_words(text: str, words: Sequence[str]) -> list[list[int] | None]:
    """The columns of ``words``, which follow each other in ``text``, at the first step; None for one not there then.

    Words of one textual inversion have all its columns each.
    """
    if not words:
        return []
    _, first_form = text_forms(text, 1)[0]
    left = contents(first_form)
    columns: list[list[int] | None] = []
    for count, word in _join_embeddings(words):
        wanted = _tokens_of(word)
        starts = _starts([token for token, _ in left], wanted) if wanted else []
        if starts:
            stop = starts[0] + len(wanted)
            places = [column for _, column in left[starts[0] : stop]]
            columns.extend(places for _ in range(count))
            left = left[stop:]
        else:
            columns.extend(None for _ in range(count))
    return columns


def text_forms(text: str, calls: int, hires_calls: int | None = None) -> TextForms:
    """(last call, text) of each form of a prompt that is edited while sampling (modules/prompt_parser.py).

    ``calls`` are those of the first pass, ``hires_calls`` those of the second where that is meant.
    """
    (stages,) = prompt_parser.get_learned_conditioning_prompt_schedules(
        [text], calls, hires_calls, shared.opts.use_old_scheduling
    )
    return [(int(until), str(stage)) for until, stage in stages]
