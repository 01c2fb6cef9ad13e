"""The low-rank factors of all LoRAs of one layer, stacked: few large products instead of many small ones.

```
rows of a call                base   A    B          x      [3, pixel, in]
LoRAs of the stack      zeros  A      B              down   [3 * rank, in], up [3 * rank, out]
by row:    inner  = bmm(x, down of each row's LoRA)         [3, pixel, rank]
           output = output + bmm(inner, up of each)         [3, pixel, out]
by column: inner  = (x @ down of all) * shares              [3 * pixel, 2 * rank]
           output = output + inner @ up of all
```

By row, the base has the LoRA of zeros, so one pair of products serves all rows; a row with two LoRAs takes part in a
second pass. By column every row has all LoRAs at once, each as much as ``shares`` say: of pixels or of whole rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clora_ext.lora.deltas import LowRank
from clora_ext.lora.passes import BatchedProduct, Pass, RowLoras, passes_of_one_rank

if TYPE_CHECKING:
    from clora_ext.lora.siblings import Siblings


def stacks_in(layer: nn.Module) -> bool:
    """Whether low-rank factors can be stacked in ``layer``: a linear one, or a convolution of all channels."""
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


class Stack:
    """``down`` [rank, in] and ``up`` [rank, out] of all LoRAs of ``layer``, one below the other.

    A convolution's ``in`` is [channel * y * x of its kernel]. Scales are part of ``up``. Where all have the same rank,
    a LoRA of zeros stands first, for rows that have none: so one product serves all rows, and a graph has no slices.
    """

    def __init__(
        self, layer: nn.Module, changes: Mapping[str, LowRank], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.layer = layer
        self.names = tuple(changes)
        self.ranks = tuple(change.down.shape[0] for change in changes.values())
        self.rank = self.ranks[0] if len(set(self.ranks)) == 1 else 0
        """The rank of all, 0 where they differ."""
        self.blocks = tuple(zip(self.names, self.ranks, strict=True))
        """Name and rank of every LoRA, in order."""
        downs = [_as_wide(layer, change.down) for change in changes.values()]
        ups = [change.up.flatten(1).T * change.scale for change in changes.values()]
        self.down, self.up = (self._stacked(part).to(device, dtype) for part in (downs, ups))
        self.siblings: Siblings | None = None
        """The stacks of other layers that are given the same input."""

    def _stacked(self, parts: Sequence[Tensor]) -> Tensor:
        """The parts [rank, width] one below the other, with ``rank`` rows of zeros above."""
        zeros = parts[0].new_zeros(self.rank, parts[0].shape[1])
        return torch.cat([zeros, *parts])

    @property
    def width(self) -> int:
        """The numbers of a sample of its input."""
        return self.down.shape[1]

    @property
    def columns(self) -> int:
        """The ranks of all LoRAs together."""
        return sum(self.ranks)

    @property
    def nbytes(self) -> int:
        """Bytes of the factors."""
        return self.down.nbytes + self.up.nbytes

    def passes(self, loras: RowLoras, *, graph: bool = False) -> list[Pass]:
        """How LoRAs of one rank are added by row to rows with ``loras``; with a ``graph`` to all rows."""
        return list(passes_of_one_rank(self.names, loras, trim=not graph))

    def factors_of(self, product: BatchedProduct | None, output: Tensor) -> tuple[Tensor, Tensor]:
        """A product's down [group, in, rank] and up [group, rank, out]; None: all LoRAs', [in, rank] and [rank, out].

        They are where and as the layer's output is: autocast may compute in half of what the weights are in.
        """
        self._follow(output)
        down, up = (self._cut(part, product) for part in (self.down, self.up))
        return down.transpose(-2, -1), up

    def alone(self) -> dict[str, LowRank]:
        """The factors of every LoRA."""
        down, up = self.down[self.rank :], self.up[self.rank :]
        ends = [0, *accumulate(self.ranks)]
        places = zip(self.names, pairwise(ends), strict=True)
        return {name: LowRank(down[start:stop], up[start:stop].T, 1.0) for name, (start, stop) in places}

    def _follow(self, output: Tensor) -> None:
        """Move the factors to where the layer's output is."""
        if self.down.dtype == output.dtype and self.down.device == output.device:
            return
        if self.siblings is not None:
            self.siblings.move(output)
        else:
            self.down, self.up = self.down.to(output), self.up.to(output)

    def _cut(self, factors: Tensor, product: BatchedProduct | None) -> Tensor:
        if product is None:
            return factors[self.rank :]
        by_lora: Tensor = factors.unflatten(0, (-1, self.rank))
        return by_lora[product.loras]


def _as_wide(layer: nn.Module, down: Tensor) -> Tensor:
    """``down`` [rank, in] as wide as the layer: an inpainting model's first convolution has more input channels."""
    if not isinstance(layer, nn.Conv2d):
        return down.flatten(1)
    known: Tensor = down.reshape(len(down), -1, *layer.kernel_size)
    missing = layer.in_channels - known.shape[1]
    return F.pad(known, (0, 0, 0, 0, 0, missing)).flatten(1)
