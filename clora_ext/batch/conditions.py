"""What a UNet call knows of its rows' texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.batch.rows import Half, Row


@dataclass(frozen=True, slots=True)
class Condition:
    """A text as a UNet is given it, of one row, or with a leading axis of several.

    ``tokens`` [token, width] is what cross-attention reads. Models that have them are also given a ``pooled`` vector
    of the whole text [width] and a vector of ``sizes`` [number]: SDXL's picture and crop, in pixels. A host whose model
    joins the two hands them over as ``pooled``.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None


Group = tuple[list[int], Condition]
"""What one call of the UNet can see of some rows: their places, with their conditions stacked."""


def of_images(batch: Tensor, images: Sequence[int]) -> Tensor:
    """``batch[images]``, without an index that a device would be waited for."""
    times, rest = divmod(len(images), len(batch))
    if not rest and list(images) == [*range(len(batch))] * times:
        return torch.cat([batch] * times)
    return torch.cat([batch[image : image + 1] for image in images])


def stacked(conditions: Sequence[Condition], at_least: int = 0) -> Condition:
    """One batch; shorter texts repeat their last token, to ``at_least`` tokens (WebUI's prompt_parser.stack_conds)."""
    tokens = [condition.tokens for condition in conditions]
    longest = max(at_least, *(len(each) for each in tokens))
    padded = [_repeat_last(each, longest) for each in tokens]
    pooled = [condition.pooled for condition in conditions if condition.pooled is not None]
    sizes = [condition.sizes for condition in conditions if condition.sizes is not None]
    return Condition(
        tokens=torch.stack(padded),
        pooled=torch.stack(pooled) if pooled else None,
        sizes=torch.stack(sizes) if sizes else None,
    )


def _repeat_last(tokens: Tensor, count: int) -> Tensor:
    missing = count - len(tokens)
    if missing <= 0:
        return tokens
    last = tokens[-1:].expand(missing, -1)
    return torch.cat([tokens, last])


class StepConditions:
    """The conditions of rows at one sampling point, stacked once for every sequence of rows that is asked for.

    ``fetch`` gives each row's own condition.
    """

    def __init__(self, fetch: Callable[[Sequence[Row]], Sequence[Condition]]) -> None:
        self._fetch = fetch
        self._found: dict[tuple[Row, ...], list[Group]] = {}

    def groups(self, rows: Sequence[Row]) -> list[Group]:
        """What single calls can see of ``rows``.

        One group, or one for each half of guidance where the halves' texts differ in length: padded in any way but the
        host's own, a text would get another part of the attention.
        """
        key = tuple(rows)
        if key not in self._found:
            self._found[key] = self._group(key)
        return self._found[key]

    def _group(self, rows: tuple[Row, ...]) -> list[Group]:
        own = self._fetch(rows)
        halves = [[place for place, row in enumerate(rows) if row.half is half] for half in Half]
        longest = {max(len(own[place].tokens) for place in places) for places in halves if places}
        together = [list(range(len(rows)))] if len(longest) == 1 else halves
        return [(places, stacked([own[place] for place in places])) for places in together]
