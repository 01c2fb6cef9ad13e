"""Texts to conditions, and words to token columns, chunked as WebUI does it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.batch.plan import Columns
from clora_ext.errors import PromptError
from clora_ext.hosts.diffusers.checkpoint import Model

_CHUNK = 75
"""Tokens of text per chunk; each has a start and an end token of its own around them."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as token ids [chunk, 77] with, for every token, its place in the text."""

    ids: Tensor
    offsets: tuple[tuple[int, int], ...]
    """First and last character of every token; token i of chunk c stands in column 77c + 1 + i of the condition."""

    def columns(self, spans: Sequence[tuple[int, int]]) -> Columns:
        """The columns of the tokens that overlap characters ``spans``. Raises ``PromptError`` when there are none."""
        found = tuple(_column(place) for place, token in enumerate(self.offsets) if _overlaps(token, spans))
        if not found:
            msg = "A subject's words have no token of their own in the prompt; choose other words."
            raise PromptError(msg, field="subject")
        return found


def _column(place: int) -> int:
    chunk, inside = divmod(place, _CHUNK)
    return chunk * (_CHUNK + 2) + 1 + inside


def _overlaps(token: tuple[int, int], spans: Sequence[tuple[int, int]]) -> bool:
    first, last = token
    return any(first < stop and last > start for start, stop in spans)


def tokenize(model: Model, text: str) -> Tokens:
    """Split ``text`` into chunks of 75 tokens, padded with the end token."""
    coded = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, end = list(coded["input_ids"]), model.tokenizer.eos_token_id
    chunks: list[list[int]] = []
    for start in range(0, max(len(ids), 1), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        padding = [end] * (_CHUNK + 1 - len(chunk))
        chunks.append([model.tokenizer.bos_token_id, *chunk, *padding])
    return Tokens(torch.tensor(chunks, device=model.device), tuple(map(tuple, coded["offset_mapping"])))


def encode_tokens(model: Model, texts: Sequence[Tokens]) -> list[Tensor]:
    """The tokens' vectors [77 * chunks, width] of ``texts``, in one call of the text encoder, all chunks in order."""
    ids = torch.cat([text.ids for text in texts])
    with torch.no_grad():
        states = model.text_encoder(input_ids=ids).last_hidden_state
    parts = states.split([len(text.ids) for text in texts])
    return [part.flatten(0, 1) for part in parts]
