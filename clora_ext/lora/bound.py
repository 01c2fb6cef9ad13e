"""What a layer's hook does for the rows that it is called with, bound once with every tensor that it needs.

A GPU that is faster than Python waits for every call and every question that Python asks. So what depends on rows,
regions, shapes and kinds of numbers is asked when a layer first sees them, and a ``Program`` with the answers is kept.
The products are those of ``lora.stacks``; where none of them will do, ``bound`` finds nothing, and a layer goes on one
LoRA after the other.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import Row
from clora_ext.lora.assignment import RowAssignment
from clora_ext.lora.passes import BatchedProduct, Pass
from clora_ext.lora.stacks import Stack

Addition = Callable[[Tensor, Tensor], Tensor | None]
"""From a layer's input and output to another output; None where the output was changed in place, or not at all."""
Inner = Callable[[Tensor], Tensor]
"""From a layer's input to what goes up to its output."""
NARROW = 128
"""Columns up to which a product takes about as long as its call, so that fewer calls are worth more columns."""


class Program:
    """A ``run`` that is right for inputs and outputs like ``x`` and ``output``; of any pixels with ``any_size``."""

    __slots__ = ("_any_size", "_contiguous", "_device", "_dtype", "_given", "_graph", "_shape", "run")

    def __init__(self, run: Addition, x: Tensor, output: Tensor, *, any_size: bool = False) -> None:
        self.run = run
        self._any_size = any_size
        self._shape = output.shape
        self._dtype, self._device, self._contiguous = output.dtype, output.device, output.is_contiguous()
        self._given = x.dtype
        self._graph = torch.is_grad_enabled()

    def holds(self, x: Tensor, output: Tensor) -> bool:
        """Whether it is right for these, too."""
        same_size = output.shape == self._shape or (self._any_size and len(output) == self._shape[0])
        return (
            same_size
            and output.dtype == self._dtype
            and x.dtype == self._given
            and torch.is_grad_enabled() == self._graph
            and output.is_contiguous() == self._contiguous
            and output.device == self._device
        )


def bound(
    stack: Stack, rows: RowAssignment, x: Tensor, output: Tensor, regions: RegionPyramid | None
) -> Program | None:
    """The LoRAs of ``stack`` on ``rows`` in a few products; None where only one LoRA after the other will do."""
    if not rows.has_any(stack):
        return Program(_nothing, x, output, any_size=True)
    linear = isinstance(stack.layer, nn.Linear)
    if linear and not output.is_contiguous():
        return None
    if linear and stack.rank and not rows.routed:
        return Program(_by_row(stack, rows, x, output), x, output, any_size=True)
    if rows.all_routed or stack.columns <= NARROW:
        shares = _shares(stack, rows, output, regions)
        run = (_linear_by_column if linear else _convolved_by_column)(stack, shares, x, output)
        return Program(run, x, output)
    if linear and stack.rank and not torch.is_grad_enabled():
        by_pixel = [_part(stack, run, some, x, output, regions) for run, some in rows.routed]
        return Program(_in_turn([_by_row(stack, rows, x, output), *by_pixel]), x, output)
    return None


def _nothing(_: Tensor, __: Tensor) -> None:
    """No row has a LoRA that changes the layer."""


def _in_turn(runs: Sequence[Addition]) -> Addition:
    if len(runs) == 1:
        return runs[0]

    def run(x: Tensor, output: Tensor) -> Tensor:
        for each in runs:
            found = each(x, output)
            output = output if found is None else found
        return output

    return run


# -- by row: the LoRA of every row, as batched products ---------------------------------------------------------------


def _by_row(stack: Stack, rows: RowAssignment, x: Tensor, output: Tensor) -> Addition:
    """A graph is built of new tensors: of a change in place it would copy the whole gradient."""
    if torch.is_grad_enabled():
        return _in_turn([_graph_of_pass(stack, each, x, output) for each in rows.passes(stack, graph=True)])
    runs: list[Addition] = []
    for each in rows.passes(stack, graph=False):
        runs.extend(_product(stack, product, x, output) for product in each)
    return _in_turn(runs)


def _product(stack: Stack, product: BatchedProduct, x: Tensor, output: Tensor) -> Addition:
    """One product, in place."""
    inner_of, up, alpha = _inner_by_row(stack, product, x, output)
    groups, _, out = up.shape
    rows = product.rows
    if rows == slice(0, len(output)):
        return lambda x, output: _ignore(output.view(groups, -1, out).baddbmm_(inner_of(x), up, alpha=alpha))

    def run(x: Tensor, output: Tensor) -> None:
        output[rows].view(groups, -1, out).baddbmm_(inner_of(x[rows]), up, alpha=alpha)

    return run


def _graph_of_pass(stack: Stack, products: Pass, x: Tensor, output: Tensor) -> Addition:
    """Products that cover all rows, as a new tensor."""
    sizes = [len(product) for product in products]
    each = [_graph_of_product(stack, product, x, output) for product in products]
    if len(each) == 1:
        return each[0]

    def run(x: Tensor, output: Tensor) -> Tensor:
        pieces = zip(each, x.split(sizes), output.split(sizes), strict=True)
        return torch.cat([part(piece, target) for part, piece, target in pieces])

    return run


def _graph_of_product(
    stack: Stack, product: BatchedProduct, x: Tensor, output: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    inner_of, up, alpha = _inner_by_row(stack, product, x, output)
    groups, _, out = up.shape

    def run(x: Tensor, output: Tensor) -> Tensor:
        flat = output.reshape(groups, -1, out)
        return torch.baddbmm(flat, inner_of(x), up, alpha=alpha).view(output.shape)

    return run


def _inner_by_row(stack: Stack, product: BatchedProduct, x: Tensor, output: Tensor) -> tuple[Inner, Tensor, float]:
    """To [group, sample, rank], the way up from there, and what the result is multiplied with."""
    down, up = stack.factors_of(product, output)
    groups, width, _ = down.shape
    is_other = x.dtype != down.dtype

    def inner_of(x: Tensor) -> Tensor:
        samples = x.reshape(groups, -1, width)
        return torch.bmm(samples.to(down.dtype) if is_other else samples, down)

    if isinstance(product.scale, float):
        return inner_of, up, product.scale
    scales = output.new_tensor(product.scale).view(-1, product.each, 1, 1)

    def scaled_by_row(x: Tensor) -> Tensor:
        by_row: Tensor = inner_of(x).unflatten(1, (product.each, -1)) * scales
        return by_row.flatten(1, 2)

    return scaled_by_row, up, 1.0


# -- by column: all LoRAs in every row, each as much as its shares say -------------------------------------------------


def _shares(stack: Stack, rows: RowAssignment, output: Tensor, regions: RegionPyramid | None) -> Tensor:
    """How much each of the stack's columns counts: [row, pixel, column], of one pixel where all are alike."""
    if not rows.routed:
        return output.new_tensor(rows.columns(stack.blocks))[:, None]
    if regions is None:
        raise RuntimeError("a routed row is drawn before there are masks")
    shares = regions.lora_shares(rows.rows, regions.grid_of(output), stack.blocks, output)
    return shares if shares.dim() == 3 else shares[:, None]


def _linear_by_column(stack: Stack, shares: Tensor, x: Tensor, output: Tensor) -> Addition:
    inner_of, up = _inner_by_column(stack, shares, x, output)
    out = up.shape[-1]
    if torch.is_grad_enabled():
        return lambda x, output: torch.addmm(output.reshape(-1, out), inner_of(x), up).view(output.shape)
    return lambda x, output: _ignore(output.view(-1, out).addmm_(inner_of(x), up))


def _inner_by_column(stack: Stack, shares: Tensor, x: Tensor, output: Tensor) -> tuple[Inner, Tensor]:
    """To [sample, column], and the way up from there."""
    down, up = stack.factors_of(None, output)
    width, columns = down.shape
    alike = shares.shape[1] == 1 and output.dim() == 3
    by_sample = shares.reshape(-1, columns)
    rows, is_other, siblings = len(output), x.dtype != down.dtype, stack.siblings
    if siblings is not None and not alike:
        of_all = siblings.factors(output)
        return lambda x: siblings.inner(stack, x, shares, of_all), up

    def product(x: Tensor) -> Tensor:
        samples = x.reshape(-1, width)
        return torch.mm(samples.to(down.dtype) if is_other else samples, down)

    def inner_of_rows(x: Tensor) -> Tensor:
        by_row = product(x).view(rows, -1, columns) * shares
        return by_row.view(-1, columns)

    return inner_of_rows if alike else lambda x: product(x).mul_(by_sample), up


def _convolved_by_column(stack: Stack, shares: Tensor, x: Tensor, output: Tensor) -> Addition:
    layer = cast(nn.Conv2d, stack.layer)
    down, up = stack.factors_of(None, output)
    rows, out, height, width = output.shape
    columns, is_other = len(up), x.dtype != up.dtype
    kernel = down.T.reshape(columns, -1, *layer.kernel_size)
    size = (1, 1) if shares.shape[1] == 1 else (height, width)
    picture = shares.transpose(1, 2).unflatten(-1, size)  # row, column, y, x
    wide, pointwise = up.T.expand(rows, out, columns), up.T[..., None, None]

    def inner_of(x: Tensor) -> Tensor:
        given = x.to(kernel.dtype) if is_other else x
        inner: Tensor = layer._conv_forward(given, kernel, None)  # noqa: SLF001 - pads as the layer does
        return inner.mul_(picture)

    def anew(x: Tensor, output: Tensor) -> Tensor:
        return output + F.conv2d(inner_of(x), pointwise)

    def in_place(x: Tensor, output: Tensor) -> None:
        output.view(rows, out, -1).baddbmm_(wide, inner_of(x).flatten(2))

    return anew if torch.is_grad_enabled() or not output.is_contiguous() else in_place


def _part(
    stack: Stack, run: slice, rows: Sequence[Row], x: Tensor, output: Tensor, regions: RegionPyramid | None
) -> Addition:
    """Routed ``rows`` beside others, in place."""
    if regions is None:
        raise RuntimeError("a routed row is drawn before there are masks")
    some = output[run]
    shares = regions.lora_shares(rows, regions.grid_of(output), stack.blocks, output)
    add = _linear_by_column(stack, shares.view(len(some), -1, stack.columns), x, some)
    return lambda x, output: add(x[run], output[run])


def _ignore(_: Tensor) -> None:
    """The output was changed in place."""
