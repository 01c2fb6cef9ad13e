"""The low-rank factors of all LoRAs of one linear layer, stacked: few large products instead of many small ones.

```
rows of a call                base   A    B          x      [3, pixel, in]
LoRAs of the stack      zeros  A      B              down   [3 * rank, in], up [3 * rank, out]
one pass:  inner  = bmm(x, down of each row's LoRA)         [3, pixel, rank]
           output = output + bmm(inner, up of each)         [3, pixel, out]
```

The base's row has the LoRA of zeros, so one pair of products serves all rows. A row with two LoRAs takes part in a
second pass. A routed row has all LoRAs at once: one product down, masked by pixel, and one product up.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from clora_ext.lora.deltas import LowRank
from clora_ext.lora.passes import BatchedProduct, Pass, RowLoras, passes_of_any_rank, passes_of_one_rank


class Stack:
    """``down`` [rank, in] and ``up`` [rank, out] of all LoRAs of a linear layer, one below the other.

    Scales are part of ``up``. Where all have the same rank, a LoRA of zeros stands first, for rows that have none: so
    one product serves all rows, and a graph has no slices.
    """

    def __init__(self, changes: Mapping[str, LowRank], device: torch.device, dtype: torch.dtype) -> None:
        self.names = tuple(changes)
        self.ranks = tuple(change.down.shape[0] for change in changes.values())
        self.rank = self.ranks[0] if len(set(self.ranks)) == 1 else 0
        """The rank of all, 0 where they differ."""
        self.blocks = tuple(zip(self.names, self.ranks, strict=True))
        """Name and rank of every LoRA, in order."""
        self.kind = (self.names, self.rank)
        """Stacks of one kind share their passes."""
        downs = [change.down.flatten(1) for change in changes.values()]
        ups = [change.up.flatten(1).T * change.scale for change in changes.values()]
        self._factors = tuple(self._stacked(part).to(device, dtype) for part in (downs, ups))
        self._views: dict[BatchedProduct | None, tuple[Tensor, Tensor]] = {}

    def _stacked(self, parts: Sequence[Tensor]) -> Tensor:
        """The parts [rank, width] one below the other, with ``rank`` rows of zeros above."""
        zeros = parts[0].new_zeros(self.rank, parts[0].shape[1])
        return torch.cat([zeros, *parts])

    @property
    def nbytes(self) -> int:
        """Bytes of the factors."""
        return sum(part.nbytes for part in self._factors)

    def passes(self, loras: RowLoras, *, graph: bool = False) -> list[Pass]:
        """How rows with ``loras`` are added to; with a ``graph`` to all of them, where ranks let it be."""
        if self.rank:
            return list(passes_of_one_rank(self.names, loras, trim=not graph))
        return list(passes_of_any_rank(self.names, loras))

    def add_to_rows(self, output: Tensor, x: Tensor, products: Pass, parts: int) -> Tensor:
        """``output`` with the LoRAs of the rows of ``products``, in place unless a graph is built.

        ``x`` [sample, ..., in], ``output`` [sample, ..., out]; every row is ``parts`` samples.
        """
        if torch.is_grad_enabled() and self.rank:  # a graph of a change in place would copy the whole gradient
            return self._graph_of_rows(output, x, products, parts)
        for product in products:
            samples = product.rows if parts == 1 else product.samples(parts)
            _add(output[samples], *self._inner(x[samples], product, output))
        return output

    def _graph_of_rows(self, output: Tensor, x: Tensor, products: Pass, parts: int) -> Tensor:
        """The same as a new tensor; the products cover all rows."""
        if len(products) == 1:
            return _added(output, *self._inner(x, products[0], output))
        pieces = x.split([len(product) * parts for product in products])
        found = [self._inner(piece, product, output) for piece, product in zip(pieces, products, strict=True)]
        return output + torch.cat([_widened(output, *each) for each in found])

    def _inner(self, x: Tensor, product: BatchedProduct, output: Tensor) -> tuple[Tensor, Tensor, float]:
        """[group, sample, rank], the way up from there, and what the result is multiplied with."""
        down, up = self._factors_of(product, output)
        samples = x.reshape(len(down), -1, x.shape[-1])
        inner = torch.bmm(samples.to(down.dtype), down)
        if isinstance(product.scale, float):
            return inner, up, product.scale
        by_row = inner.unflatten(1, (product.each, -1)) * product.scales(inner)
        return by_row.flatten(1, 2), up, 1.0

    def add_to_pixels(self, output: Tensor, x: Tensor, rows: slice, shares: Tensor) -> Tensor:
        """``output`` with every LoRA at its own pixels of ``rows``, in place unless a graph is built.

        ``shares`` [pixel of the rows, rank] says how much each rank of ``blocks`` counts.
        """
        down, up = self._factors_of(None, output)
        pixels = x[rows].reshape(-1, x.shape[-1])
        inner = torch.mm(pixels.to(down.dtype), down).mul_(shares)
        if torch.is_grad_enabled() and rows == slice(0, len(output)):
            return _added(output, inner, up, 1.0)
        _add(output[rows], inner, up, 1.0)
        return output

    def _factors_of(self, product: BatchedProduct | None, output: Tensor) -> tuple[Tensor, Tensor]:
        """A product's down [group, in, rank] and up [group, rank, out]; None: all LoRAs', [in, rank] and [rank, out].

        They are where and as the layer's output is: autocast may compute in half of what the weights are in.
        """
        if self._factors[0].dtype != output.dtype or self._factors[0].device != output.device:
            self._factors = tuple(part.to(output) for part in self._factors)
            self._views = {}
        if product not in self._views:
            down, up = (self._cut(part, product) for part in self._factors)
            self._views[product] = down.transpose(-2, -1), up
        return self._views[product]

    def _cut(self, factors: Tensor, product: BatchedProduct | None) -> Tensor:
        if product is None:
            return factors[self.rank :]
        if self.rank:
            by_lora: Tensor = factors.unflatten(0, (-1, self.rank))
            return by_lora[product.loras]
        place = product.loras.start
        start = sum(self.ranks[:place])
        return factors[None, start : start + self.ranks[place]]


def _widened(like: Tensor, inner: Tensor, up: Tensor, scale: float) -> Tensor:
    """scale * inner @ up in the shape of the samples of ``like``."""
    wide = torch.bmm(inner, up) * scale
    return wide.view(-1, *like.shape[1:])


def _added(output: Tensor, inner: Tensor, up: Tensor, scale: float) -> Tensor:
    """output + scale * inner @ up; ``inner`` [sample, rank], or [group, sample, rank]."""
    add = torch.baddbmm if inner.dim() == 3 else torch.addmm
    flat = output.reshape(*inner.shape[:-1], -1)
    return add(flat, inner, up, alpha=scale).view(output.shape)


def _add(output: Tensor, inner: Tensor, up: Tensor, scale: float) -> None:
    """The same in place."""
    if not output.is_contiguous():
        wide = torch.matmul(inner, up).mul(scale)
        output += wide.view(output.shape)
        return
    flat = output.view(*inner.shape[:-1], -1)
    if inner.dim() == 3:
        flat.baddbmm_(inner, up, alpha=scale)
    else:
        flat.addmm_(inner, up, alpha=scale)
