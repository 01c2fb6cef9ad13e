"""Texts to conditions, and words to token columns, chunked as WebUI does it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.core.concepts import Columns
from clora_ext.errors import PromptError
from clora_ext.hosts.diffusers.checkpoint import Model

CHUNK = 75
"""Tokens of text per chunk; each has a start and an end token of its own around them."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as token ids [chunk, 77] with, for every column of the condition, its place in the text."""

    ids: Tensor
    offsets: tuple[tuple[int, int], ...]
    """Per token: first and last character of the text; tokens of chunk c, place i stand in column 77c + 1 + i."""

    def columns(self, spans: Sequence[tuple[int, int]]) -> Columns:
        """The columns of the tokens that overlap characters ``spans``. Raises ``PromptError`` when there are none."""
        found = tuple(
            place // CHUNK * (CHUNK + 2) + 1 + place % CHUNK
            for place, (first, last) in enumerate(self.offsets)
            if any(first < stop and last > start for start, stop in spans)
        )
        if not found:
            msg = "A subject's words have no token of their own in the prompt; choose other words."
            raise PromptError(msg, field="subject")
        return found


def tokenize(model: Model, text: str) -> Tokens:
    """Split ``text`` into chunks of 75 tokens, padded with the end token."""
    coded = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, end = list(coded["input_ids"]), model.tokenizer.eos_token_id
    chunks = [ids[at : at + CHUNK] for at in range(0, max(len(ids), 1), CHUNK)]
    full = [[model.tokenizer.bos_token_id, *chunk, *[end] * (CHUNK + 1 - len(chunk))] for chunk in chunks]
    return Tokens(torch.tensor(full, device=model.device), tuple(map(tuple, coded["offset_mapping"])))


def encode(model: Model, texts: Sequence[Tokens]) -> list[Tensor]:
    """Conditions [1, 77 * chunks, width] of ``texts``, in one call of the text encoder, all texts' chunks in order."""
    with torch.no_grad():
        states = model.text_encoder(input_ids=torch.cat([text.ids for text in texts])).last_hidden_state
    parts = states.split([len(text.ids) for text in texts])
    return [part.flatten(0, 1)[None] for part in parts]


def stacked(conditions: Sequence[Tensor]) -> Tensor:
    """One batch of conditions; shorter ones repeat their last vector, as WebUI's ``stack_conds`` does."""
    longest = max(condition.shape[1] for condition in conditions)
    padded = [
        torch.cat([condition, condition[:, -1:].expand(-1, longest - condition.shape[1], -1)], dim=1)
        for condition in conditions
    ]
    return torch.cat(padded)
