"""Attention probabilities of chosen tokens from the queries and keys that a layer computed."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from clora_ext.core.shapes import LayerPixels, LayerTokens, TokenMaps


class WantedColumns:
    """The token columns that are wanted of the rows at ``places`` of a batch; every index is made once.

    Rows may want different numbers of columns: shorter ones are padded with column 0, to be ignored.
    """

    def __init__(self, places: Sequence[int], columns: Sequence[Sequence[int]]) -> None:
        self.places = tuple(places)
        self.columns = tuple(map(tuple, columns))
        self.width = max(map(len, self.columns))
        self._on: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def index(self, device: torch.device) -> Tensor:
        """The columns [row, column]."""
        return self._indices(device)[0]

    def pick(self, batch: Tensor) -> Tensor:
        """The wanted rows of a batch."""
        first, last = self.places[0], self.places[-1]
        if all(after == before + 1 for before, after in pairwise(self.places)):
            return batch[first : last + 1]
        return batch.index_select(0, self._indices(batch.device)[1])

    def _indices(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._on:
            padded = [[*wanted, *[0] * (self.width - len(wanted))] for wanted in self.columns]
            self._on[device] = torch.tensor(padded, device=device), torch.tensor(self.places, device=device)
        return self._on[device]


def token_maps(query: LayerPixels, key: LayerTokens, heads: int, scale: float, wanted: WantedColumns) -> TokenMaps:
    """Mean over heads of softmax(QK^T * scale), for each row the wanted columns: [row, column, pixel].

    ``query`` [row, pixel, heads * d], ``key`` [row, token, heads * d] of these rows; computed in float32 at least.
    """
    dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
    with torch.autocast(query.device.type, enabled=False):
        queries, keys = (_by_head(part.to(dtype), heads) for part in (query, key))
        logits = queries @ keys.transpose(-1, -2) * scale  # row, head, pixel, token
        probability = logits.softmax(dim=-1)
        index = wanted.index(query.device)[:, None, None, :].expand(*probability.shape[:3], wanted.width)
        chosen = probability.gather(-1, index)  # row, head, pixel, column
        return chosen.mean(dim=1).transpose(1, 2)


def _by_head(part: Tensor, heads: int) -> Tensor:
    """[row, position, heads * d] as [row, head, position, d]."""
    split: Tensor = part.unflatten(-1, (heads, -1))
    return split.transpose(1, 2)
