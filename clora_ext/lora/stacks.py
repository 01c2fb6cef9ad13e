"""The low-rank factors of all LoRAs of one linear layer, stacked: few large products instead of many small ones."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor

from clora_ext.lora.deltas import LowRank

Worn = Sequence[Mapping[str, float]]
"""For each row the LoRAs that it wears by name, and how much of each: 1 for its whole weight."""


class Product:
    """Rows of a call to which LoRAs are added by one pair of batched products.

    Of the rows ``rows``, each group of ``each`` wears one LoRA; the groups' LoRAs stand in the stack's order, at
    ``loras``. ``scale`` multiplies what they add: a number, or one for each row.
    """

    def __init__(self, start: int, each: int, first: int, scales: Sequence[float]) -> None:
        self.rows = slice(start, start + len(scales))
        self.each = each
        self.loras = slice(first, first + len(scales) // each)
        self.scale: float | Sequence[float] = scales[0] if len(set(scales)) == 1 else scales
        self._made: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def scales(self, like: Tensor) -> Tensor:
        """The scale of every row, [group, row of the group, 1, 1]."""
        key = like.device, like.dtype
        if key not in self._made:
            self._made[key] = torch.tensor(self.scale, device=like.device, dtype=like.dtype)
        return self._made[key].view(-1, self.each, 1, 1)


Turn = Sequence[Product]
"""Products of different rows: the first LoRA of each, say."""


class Stack:
    """``down`` [rank, in] and ``up`` [rank, out] of all LoRAs of a linear layer, one below the other.

    Scales are part of ``up``. Where all have the same rank, a LoRA of zeros stands first, for rows that wear none: so
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
        """Stacks of one kind share their products."""
        downs = [change.down.flatten(1) for change in changes.values()]
        ups = [change.up.flatten(1).T * change.scale for change in changes.values()]
        self._factors = tuple(
            torch.cat([part[0].new_zeros(self.rank, part[0].shape[1]), *part]).to(device, dtype)
            for part in (downs, ups)
        )
        self._views: dict[Product | None, tuple[Tensor, Tensor]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the factors."""
        return sum(part.nbytes for part in self._factors)

    def turns(self, worn: Worn, *, graph: bool = False) -> list[Turn]:
        """How rows that wear ``worn`` are added to; with a ``graph`` to all of them, where ranks let it be."""
        if self.rank:
            return list(self._in_turn(worn, trim=not graph))
        return [
            [Product(run.start, run.stop - run.start, place, [share] * (run.stop - run.start))]
            for place, name in enumerate(self.names)
            for run, share in stretches([row.get(name, 0.0) for row in worn])
        ]

    def _in_turn(self, worn: Worn, *, trim: bool) -> Iterator[Turn]:
        """The first LoRA of every row, then the second one of those that wear two."""
        queues = [[(1 + self.names.index(n), s) for n, s in row.items() if n in self.names and s] for row in worn]
        for turn in range(max(map(len, queues), default=0)):
            picks = [queue[turn] if turn < len(queue) else (0, 0.0) for queue in queues]
            taken = [place for place, (lora, _) in enumerate(picks) if lora]
            start, stop = (taken[0], taken[-1] + 1) if trim else (0, len(picks))
            yield list(_ascending(start, picks[start:stop]))

    def add_to_rows(self, output: Tensor, x: Tensor, turn: Turn, parts: int) -> Tensor:
        """``output`` with what the rows of ``turn`` wear, in place unless a graph is built.

        ``x`` [sample, ..., in], ``output`` [sample, ..., out]; every row is ``parts`` samples.
        """
        runs = [slice(product.rows.start * parts, product.rows.stop * parts) for product in turn]
        if torch.is_grad_enabled() and self.rank:  # a graph of a change in place would copy the whole gradient
            if len(turn) == 1:
                return _added(output, *self._inner(x, turn[0], output))
            pieces = x.split([run.stop - run.start for run in runs])
            found = [self._inner(piece, product, output) for piece, product in zip(pieces, turn, strict=True)]
            return output + torch.cat([_widened(output, *each) for each in found])
        for run, product in zip(runs, turn, strict=True):
            _add(output[run], *self._inner(x[run], product, output))
        return output

    def _inner(self, x: Tensor, product: Product, output: Tensor) -> tuple[Tensor, Tensor, float]:
        """[group, sample, rank], the way up from there, and what the result is multiplied with."""
        down, up = self._for(product, output)
        inner = torch.bmm(x.reshape(len(down), -1, x.shape[-1]).to(down.dtype), down)
        if isinstance(product.scale, float):
            return inner, up, product.scale
        scaled = inner.unflatten(1, (product.each, -1)) * product.scales(inner)
        return scaled.flatten(1, 2), up, 1.0

    def add_to_pixels(self, output: Tensor, x: Tensor, rows: slice, shares: Tensor) -> Tensor:
        """``output`` with every LoRA at its own pixels of ``rows``, in place unless a graph is built.

        ``shares`` [pixel of the rows, rank] says how much each rank of ``blocks`` counts.
        """
        down, up = self._for(None, output)
        inner = torch.mm(x[rows].reshape(-1, x.shape[-1]).to(down.dtype), down).mul_(shares)
        if torch.is_grad_enabled() and rows == slice(0, len(output)):
            return _added(output, inner, up, 1.0)
        _add(output[rows], inner, up, 1.0)
        return output

    def _for(self, product: Product | None, output: Tensor) -> tuple[Tensor, Tensor]:
        """A product's down [group, in, rank] and up [group, rank, out]; None: all LoRAs', [in, rank] and [rank, out].

        They are where and as the layer's output is: autocast may compute in half of what the weights are in.
        """
        if self._factors[0].dtype != output.dtype or self._factors[0].device != output.device:
            self._factors, self._views = tuple(part.to(output) for part in self._factors), {}
        if product in self._views:
            return self._views[product]
        if product is None:
            down, up = (part[self.rank :] for part in self._factors)
        elif self.rank:
            down, up = (part.unflatten(0, (-1, self.rank))[product.loras] for part in self._factors)
        else:
            start = sum(self.ranks[: product.loras.start])
            stop = start + self.ranks[product.loras.start]
            down, up = (part[None, start:stop] for part in self._factors)
        self._views[product] = down.transpose(-2, -1), up
        return self._views[product]


def _ascending(start: int, picks: Sequence[tuple[int, float]]) -> Iterator[Product]:
    """Products of rows that pick a LoRA's place, and how much of it: as few as there are ascending runs of places."""
    groups = [list(group) for _, group in groupby(picks, key=lambda pick: pick[0])]
    while groups:
        each, first = len(groups[0]), groups[0][0][0]
        run = 1
        while run < len(groups) and len(groups[run]) == each and groups[run][0][0] == first + run:
            run += 1
        scales = [scale for group in groups[:run] for _, scale in group]
        worn = next((scale for scale in scales if scale), 0.0)
        yield Product(start, each, first, [scale or worn for scale in scales])  # zeros may count for anything
        start, groups = start + each * run, groups[run:]


def _widened(like: Tensor, inner: Tensor, up: Tensor, scale: float) -> Tensor:
    """scale * inner @ up in the shape of the samples of ``like``."""
    return (torch.bmm(inner, up) * scale).view(-1, *like.shape[1:])


def _added(output: Tensor, inner: Tensor, up: Tensor, scale: float) -> Tensor:
    """output + scale * inner @ up; ``inner`` [sample, rank], or [group, sample, rank]."""
    add = torch.baddbmm if inner.dim() == 3 else torch.addmm
    return add(output.reshape(*inner.shape[:-1], -1), inner, up, alpha=scale).view(output.shape)


def _add(output: Tensor, inner: Tensor, up: Tensor, scale: float) -> None:
    """The same in place."""
    if not output.is_contiguous():
        output += torch.matmul(inner, up).mul(scale).view(output.shape)
    elif inner.dim() == 3:
        output.view(*inner.shape[:-1], -1).baddbmm_(inner, up, alpha=scale)
    else:
        output.view(*inner.shape[:-1], -1).addmm_(inner, up, alpha=scale)


def stretches(values: Sequence[float]) -> list[tuple[slice, float]]:
    """Contiguous runs of one value other than 0."""
    found, start = [], 0
    for value, run in groupby(values):
        stop = start + len(list(run))
        if value:
            found.append((slice(start, stop), value))
        start = stop
    return found
