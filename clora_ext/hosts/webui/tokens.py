"""Words to token columns, by the host's own chunker."""

from collections.abc import Sequence

from modules import prompt_parser, shared

from clora_ext.core.concepts import Columns
from clora_ext.errors import PromptError

CHUNK = 75


def contents(text: str) -> list[tuple[int, int]]:
    """(token id, column) of every token of ``text`` but start, end and padding; commas may move chunks, BREAK pads."""
    wrapper = shared.sd_model.cond_stage_model
    chunks, _ = wrapper.process_texts([text])
    special = {wrapper.id_start, wrapper.id_end, wrapper.id_pad}
    return [
        (token, number * (CHUNK + 2) + place)
        for number, chunk in enumerate(chunks[0])
        for place, token in enumerate(chunk.tokens)
        if token not in special
    ]


def _places(tokens: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Where ``wanted`` begins in ``tokens``."""
    size = len(wanted)
    return [at for at in range(len(tokens) - size + 1) if list(tokens[at : at + size]) == list(wanted)]


def columns(text: str, scheduled: str, spans: Sequence[tuple[int, int]]) -> Columns:
    """The columns of the words at ``spans`` of ``text``, in the form ``scheduled`` that it takes at some steps.

    A word is found by its tokens and told apart by occurrence, so emphasis, BREAK and chunks do not matter. Raises
    ``PromptError`` when it is not there at those steps.
    """
    found = contents(scheduled)
    tokens = [token for token, _ in found]
    places: list[int] = []
    for start, stop in spans:
        wanted = shared.sd_model.cond_stage_model.tokenize([text[start:stop]])[0]
        before = len(_places([token for token, _ in contents(text[:start])], wanted))
        starts = _places(tokens, wanted)
        if not wanted or before >= len(starts):
            msg = f"“{text[start:stop]}” is not in the prompt at every step; a subject must stay while it is edited."
            raise PromptError(msg, field="subject")
        places.extend(range(starts[before], starts[before] + len(wanted)))
    return tuple(found[place][1] for place in places)


def of_words(text: str, words: Sequence[str]) -> list[list[int] | None]:
    """The columns of ``words``, which follow each other in ``text``, at the first step; None for one not there then."""
    found = contents(schedule(text, 1)[0][1])
    tokens = [token for token, _ in found]
    columns: list[list[int] | None] = []
    start = 0
    for wanted in shared.sd_model.cond_stage_model.tokenize(list(words)) if words else []:
        place = next((at for at in _places(tokens[start:], wanted)), None) if wanted else None
        if place is None:
            columns.append(None)
            continue
        columns.append([column for _, column in found[start + place : start + place + len(wanted)]])
        start += place + len(wanted)
    return columns


def schedule(text: str, steps: int) -> list[tuple[int, str]]:
    """(last step, text) of each stage of a prompt that is edited while sampling."""
    (stages,) = prompt_parser.get_learned_conditioning_prompt_schedules(
        [text], steps, None, shared.opts.use_old_scheduling
    )
    return [(int(until), stage) for until, stage in stages]


def stage(stages: Sequence[tuple[int, str]], step: int) -> int:
    """Which stage is on at ``step``: the host's own rule (prompt_parser.reconstruct_cond_batch)."""
    return next((index for index, (until, _) in enumerate(stages) if step <= until), 0)
