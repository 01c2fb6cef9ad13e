"""Words to token columns, by the host's own chunker."""

from collections.abc import Sequence
from typing import Any

from modules import prompt_parser, shared

from clora_ext.batch.plan import Columns
from clora_ext.engine.port import TextForms
from clora_ext.errors import PromptError

_CHUNK = 75
"""Tokens of text per chunk (modules/sd_hijack_clip.py)."""
Placed = list[tuple[int, int]]
"""(token id, column) of the tokens of a text."""


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
        found.extend((token, start + place) for place, token in enumerate(chunk.tokens) if token not in special)
    return found


def _ids(found: Placed) -> list[int]:
    return [token for token, _ in found]


def _tokenize(words: Sequence[str]) -> list[list[int]]:
    tokens: list[list[int]] = _chunker().tokenize(list(words))
    return tokens


def _starts(tokens: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Where ``wanted`` begins in ``tokens``."""
    size = len(wanted)
    return [at for at in range(len(tokens) - size + 1) if list(tokens[at : at + size]) == list(wanted)]


def columns_of(text: str, form: str, spans: Sequence[tuple[int, int]]) -> Columns:
    """The columns of the words at ``spans`` of ``text``, in the ``form`` that it takes at some steps.

    A word is found by its tokens and told apart by occurrence, so emphasis, BREAK and chunks do not matter. Raises
    ``PromptError`` when it is not there at those steps.
    """
    found = contents(form)
    tokens = _ids(found)
    places: list[int] = []
    for start, stop in spans:
        (wanted,) = _tokenize([text[start:stop]])
        before = len(_starts(_ids(contents(text[:start])), wanted))
        starts = _starts(tokens, wanted)
        if not wanted or before >= len(starts):
            msg = f"“{text[start:stop]}” is not in the prompt at every step; a subject must stay while it is edited."
            raise PromptError(msg, field="subject")
        first = starts[before]
        places.extend(range(first, first + len(wanted)))
    return tuple(found[place][1] for place in places)


def columns_of_words(text: str, words: Sequence[str]) -> list[list[int] | None]:
    """The columns of ``words``, which follow each other in ``text``, at the first step; None for one not there then."""
    if not words:
        return []
    _, first_form = text_forms(text, 1)[0]
    left = contents(first_form)
    columns: list[list[int] | None] = []
    for wanted in _tokenize(words):
        starts = _starts(_ids(left), wanted) if wanted else []
        if starts:
            stop = starts[0] + len(wanted)
            columns.append([column for _, column in left[starts[0] : stop]])
            left = left[stop:]
        else:
            columns.append(None)
    return columns


def text_forms(text: str, calls: int, hires_calls: int | None = None) -> TextForms:
    """(last call, text) of each form of a prompt that is edited while sampling (modules/prompt_parser.py).

    ``calls`` are those of the first pass, ``hires_calls`` those of the second where that is meant.
    """
    (stages,) = prompt_parser.get_learned_conditioning_prompt_schedules(
        [text], calls, hires_calls, shared.opts.use_old_scheduling
    )
    return [(int(until), str(stage)) for until, stage in stages]
