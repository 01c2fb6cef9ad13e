"""Attention probabilities of chosen tokens from the queries and keys that a layer computed."""

from collections.abc import Sequence

import torch
from torch import Tensor


def token_maps(query: Tensor, key: Tensor, heads: int, scale: float, columns: Sequence[Sequence[int]]) -> Tensor:
    """Mean over heads of softmax(QK^T * scale), for each row the wanted columns: [row, column, pixel].

    ``query`` [row, pixel, heads * d], ``key`` [row, token, heads * d]; float32 at least. Rows may want different
    numbers of columns: shorter ones are padded with column 0, to be ignored.
    """
    dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
    with torch.autocast(query.device.type, enabled=False):
        queries, keys = (part.to(dtype).unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key))
        probability = (queries @ keys.transpose(-1, -2) * scale).softmax(dim=-1)  # row, head, pixel, token
        width = max(len(wanted) for wanted in columns)
        index = torch.tensor([[*wanted, *[0] * (width - len(wanted))] for wanted in columns], device=query.device)
        chosen = index[:, None, None, :].expand(*probability.shape[:3], width)
        return probability.gather(-1, chosen).mean(dim=1).transpose(1, 2)
