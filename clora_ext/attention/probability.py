"""Attention probabilities of chosen tokens from the queries and keys that a layer computed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from clora_ext.core.shapes import LayerPixels, LayerTokens, TokenMaps


def token_maps(
    query: LayerPixels, key: LayerTokens, heads: int, scale: float, columns: Sequence[Sequence[int]]
) -> TokenMaps:
    """Mean over heads of softmax(QK^T * scale), for each row the wanted columns: [row, column, pixel].

    ``query`` [row, pixel, heads * d], ``key`` [row, token, heads * d]; computed in float32 at least.
    Rows may want different numbers of columns: shorter ones are padded with column 0, to be ignored.
    """
    dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
    with torch.autocast(query.device.type, enabled=False):
        queries, keys = (_by_head(part.to(dtype), heads) for part in (query, key))
        logits = queries @ keys.transpose(-1, -2) * scale  # row, head, pixel, token
        probability = logits.softmax(dim=-1)
        width = max(len(wanted) for wanted in columns)
        padded = [[*wanted, *[0] * (width - len(wanted))] for wanted in columns]
        index = torch.tensor(padded, device=query.device)
        index = index[:, None, None, :].expand(*probability.shape[:3], width)
        chosen = probability.gather(-1, index)  # row, head, pixel, column
        return chosen.mean(dim=1).transpose(1, 2)


def _by_head(part: Tensor, heads: int) -> Tensor:
    """[row, position, heads * d] as [row, head, position, d]."""
    split: Tensor = part.unflatten(-1, (heads, -1))
    return split.transpose(1, 2)
