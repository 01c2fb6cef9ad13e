"""Texts to conditions, and words to token columns, chunked as WebUI does it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.models.clip.modeling_clip import CLIPTextModelOutput

from clora_ext.batch.conditions import Condition
from clora_ext.batch.plan import Columns
from clora_ext.core.maps import Grid
from clora_ext.errors import PromptError
from clora_ext.hosts.diffusers.architecture import Family
from clora_ext.hosts.diffusers.checkpoint import Model
from clora_ext.hosts.diffusers.encoders import TextEncoder

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

    def padded(self, padding: int) -> Tensor:
        """The ids with ``padding`` behind the first end token of each chunk."""
        ends = self.ids == self.ids[:, -1:]
        behind = ends.cumsum(dim=1) > 1
        return self.ids.masked_fill(behind, padding)


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


@dataclass(frozen=True, slots=True)
class TextVectors:
    """A text's vectors [77 * chunks, width], and that of the whole text [width] where the encoder makes one."""

    tokens: Tensor
    pooled: Tensor | None


def encode_tokens(encoder: TextEncoder, texts: Sequence[Tokens]) -> list[TextVectors]:
    """What one text encoder makes of ``texts``, in one call, all chunks in order; the pooled vector is the first's."""
    ids = torch.cat([text.padded(encoder.padding) for text in texts])
    output = encoder.network(input_ids=ids, output_hidden_states=encoder.penultimate)
    layers = output.hidden_states
    states = output.last_hidden_state if layers is None else layers[-2]
    chunks = [len(text.ids) for text in texts]
    tokens = [part.flatten(0, 1) for part in states.split(chunks)]
    if not isinstance(output, CLIPTextModelOutput):
        return [TextVectors(part, None) for part in tokens]
    pooled = [part[0] for part in output.text_embeds.split(chunks)]
    return [TextVectors(*parts) for parts in zip(tokens, pooled, strict=True)]


def side_by_side(parts: Sequence[TextVectors]) -> TextVectors:
    """One text by all text encoders: vectors side by side."""
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return TextVectors(torch.cat([part.tokens for part in parts], dim=-1), pooled[0] if pooled else None)


def text_condition(model: Model, text: TextVectors, size: Grid) -> Condition:
    """What the UNet is given; SDXL's is told the ``size`` in pixels, without a crop."""
    if model.family is not Family.SDXL:
        return Condition(text.tokens)
    sizes = torch.tensor([*size, 0, 0, *size], dtype=torch.float32, device=model.device)
    return Condition(text.tokens, text.pooled, sizes)
