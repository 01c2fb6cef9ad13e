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

    Of the rows ``rows``, each group of ``each`` wears one LoRA of the stack; ``loras`` are their places there, a slice
    or one by one. ``scale`` multiplies what they add: a number, or one for each row.
    """

    def __init__(self, rows: slice, picks: Sequence[tuple[int, float]]) -> None:
        self.rows = rows
        groups = [(place, len(list(group))) for place, group in groupby(place for place, _ in picks)]
        sizes = {size for _, size in groups}
        self.each = sizes.pop() if len(sizes) == 1 else 1
        places = [place for place, _ in picks[:: self.each]]
        first = places[0]
        ascending = places == list(range(first, first + len(places)))
        self.loras: slice | list[int] = slice(first, first + len(places)) if ascending else places
        scales = {scale for place, scale in picks if place}
        self.scale: float | list[float] = scales.pop() if len(scales) == 1 else [scale for _, scale in picks]
        self._made: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def factors(self, stacked: Tensor) -> Tensor:
        """The factors [group, rank, width] out of ``stacked`` [LoRA, rank, width]: a view where they stand in order."""
        if isinstance(self.loras, slice):
            return stacked[self.loras]
        return stacked.index_select(0, self._once(stacked.device, torch.long, self.loras))

    def scales(self, like: Tensor) -> Tensor:
        """The scale of every row, [group, row of the group, 1, 1]."""
        return self._once(like.device, like.dtype, self.scale).view(-1, self.each, 1, 1)

    def _once(self, device: torch.device, dtype: torch.dtype, values: Sequence[float]) -> Tensor:
        if (device, dtype) not in self._made:
            self._made[device, dtype] = torch.tensor(values, device=device, dtype=dtype)
        return self._made[device, dtype]


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

    def products(self, worn: Worn) -> list[Product]:
        """How rows that wear ``worn`` are added to. Those that wear none, before and after all others, are left out."""
        return list(self._in_turn(worn) if self.rank else self._one_by_one(worn))

    def products_for_graph(self, worn: Worn) -> list[Product]:
        """The same over all rows, where ranks let it be."""
        return list(self._in_turn(worn, trim=False) if self.rank else self._one_by_one(worn))

    def _in_turn(self, worn: Worn, *, trim: bool = True) -> Iterator[Product]:
        """The first LoRA of every row, then the second one of those that wear two."""
        queues = [[(1 + self.names.index(n), s) for n, s in row.items() if n in self.names and s] for row in worn]
        for turn in range(max(map(len, queues), default=0)):
            picks = [queue[turn] if turn < len(queue) else (0, 0.0) for queue in queues]
            taken = [place for place, (lora, _) in enumerate(picks) if lora]
            rows = slice(taken[0], taken[-1] + 1) if trim else slice(0, len(picks))
            yield Product(rows, picks[rows])

    def _one_by_one(self, worn: Worn) -> Iterator[Product]:
        for place, name in enumerate(self.names):
            for run, share in stretches([row.get(name, 0.0) for row in worn]):
                yield Product(run, [(1 + place, share)] * (run.stop - run.start))

    def add_to_rows(self, output: Tensor, x: Tensor, product: Product, parts: int) -> Tensor:
        """``output`` with what the rows of ``product`` wear, in place unless a graph is built.

        ``x`` [sample, ..., in], ``output`` [sample, ..., out]; every row is ``parts`` samples.
        """
        rows = slice(product.rows.start * parts, product.rows.stop * parts)
        part, of = (output, x) if rows == slice(0, len(output)) else (output[rows], x[rows])
        down, up = self._for(product, output)
        inner = torch.bmm(of.reshape(len(down), -1, of.shape[-1]).to(down.dtype), down)
        if isinstance(product.scale, float):
            return _added(output, part, inner, up, product.scale)
        scaled = inner.unflatten(1, (product.each, -1)) * product.scales(inner)
        return _added(output, part, scaled.flatten(1, 2), up, 1.0)

    def add_to_pixels(self, output: Tensor, x: Tensor, rows: slice, shares: Tensor) -> Tensor:
        """``output`` with every LoRA at its own pixels of ``rows``, in place unless a graph is built.

        ``shares`` [pixel of the rows, rank] says how much each rank of ``blocks`` counts.
        """
        part, of = (output, x) if rows == slice(0, len(output)) else (output[rows], x[rows])
        down, up = self._for(None, output)
        inner = torch.mm(of.reshape(-1, of.shape[-1]).to(down.dtype), down).mul_(shares)
        return _added(output, part, inner, up, 1.0)

    @property
    def blocks(self) -> tuple[tuple[str, int], ...]:
        """Name and rank of every LoRA, in order."""
        return tuple(zip(self.names, self.ranks, strict=True))

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
            down, up = (product.factors(part.unflatten(0, (-1, self.rank))) for part in self._factors)
        else:
            place = product.loras.start - 1  # no zeros stand first
            start = sum(self.ranks[:place])
            down, up = (part[start : start + self.ranks[place]][None] for part in self._factors)
        found = down.transpose(-2, -1), up
        if product is None or isinstance(product.loras, slice):  # views, which take no memory
            self._views[product] = found
        return found


def _added(output: Tensor, part: Tensor, inner: Tensor, up: Tensor, alpha: float) -> Tensor:
    """``output`` to whose ``part`` alpha * inner @ up is added; ``inner`` [sample, rank] or [group, sample, rank]."""
    shape, grouped = (*inner.shape[:-1], part.shape[-1]), inner.dim() == 3
    if torch.is_grad_enabled() and part is output:  # a graph of a change in place would copy the whole gradient
        add = torch.baddbmm if grouped else torch.addmm
        return add(output.reshape(shape), inner, up, alpha=alpha).view(output.shape)
    if not part.is_contiguous():
        part += torch.matmul(inner, up).mul(alpha).view(part.shape)
    elif grouped:
        part.view(shape).baddbmm_(inner, up, alpha=alpha)
    else:
        part.view(shape).addmm_(inner, up, alpha=alpha)
    return output


def stretches(values: Sequence[float]) -> list[tuple[slice, float]]:
    """Contiguous runs of one value other than 0."""
    found, start = [], 0
    for value, run in groupby(values):
        stop = start + len(list(run))
        if value:
            found.append((slice(start, stop), value))
        start = stop
    return found
