"""Tokens that another extension has put in front of every text, by which it tells the halves of guidance apart.

ControlNet does so, and takes them off again before the UNet's layers: the columns of words do not move.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from clora_ext.batch.conditions import Condition
from clora_ext.batch.rows import Half, Row
from clora_ext.errors import HostError
from clora_ext.hosts.webui.drive import neighbours

TEXT_CHUNK = 77
"""Tokens by which the host's texts grow (modules/sd_hijack_clip.py)."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks [mark, width] of either half; none where nobody marks."""

    halves: Mapping[Half, Tensor]

    @property
    def count(self) -> int:
        """How many tokens."""
        return len(self.halves[Half.COND])

    def off(self, condition: Condition) -> Condition:
        """The condition of a row of the host's batch as it was before."""
        return replace(condition, tokens=condition.tokens[self.count :])

    def on(self, condition: Condition, rows: Sequence[Row]) -> Condition:
        """The stacked conditions of ``rows`` as the neighbour wants to see them."""
        if not self.count:
            return condition
        marks = torch.stack([self.halves[row.half] for row in rows]).to(condition.tokens)
        return replace(condition, tokens=torch.cat([marks, condition.tokens], dim=1))


def marks_of(params: Any) -> Marks:
    """Those of the texts of the host's callback ``on_cfg_denoiser``.

    Raises ``HostError`` where somebody has added tokens that are no marks: nobody knows what they do.
    """
    found = {Half.COND: _front(params.text_cond), Half.UNCOND: _front(params.text_uncond)}
    counts = {len(marks) for marks in found.values()}
    if len(counts) > 1 or not all(_is_mark(marks) for marks in found.values()):
        raise HostError(neighbours.blamed("adds tokens of its own to the texts"))
    return Marks(found)


def _front(batch: Any) -> Tensor:
    """What the first text of a batch has more than whole chunks, from its beginning."""
    tokens: Tensor = batch["crossattn"] if isinstance(batch, Mapping) else batch
    return tokens[0, : tokens.shape[1] % TEXT_CHUNK]


def _is_mark(tokens: Tensor) -> bool:
    """Whether each of ``tokens`` is one number over and over, as no word is."""
    return not len(tokens) or bool((tokens == tokens[:, :1]).all())
