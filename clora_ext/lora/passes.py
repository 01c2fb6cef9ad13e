"""Which rows of a call have which LoRAs, as few batched products.

```
rows of a call          base   A    B    A    B    base       two images with two branches each, one unconditional row
first pass              -      [A    B]  [A    B]  -          two products: LoRAs in the stack's order, one for each row
a graph's pass          [0     A    B]   ...                  from the LoRA of zeros on: every row takes part
```
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

RowLoras = Sequence[Mapping[str, float]]
"""For each row the LoRAs that are active in it by name, and how much of each: 1 for its whole weight."""
Pick = tuple[int, float]
"""A LoRA's place in the stack, and how much of it; place 0 is the LoRA of zeros."""


class BatchedProduct:
    """Neighbouring rows to which LoRAs are added by one pair of batched products.

    Each group of ``each`` rows has one LoRA; the groups' LoRAs stand in the stack's order, at ``loras``. ``scale``
    multiplies what they add: one number, or one for each row.
    """

    def __init__(self, start: int, each: int, first: int, scales: Sequence[float]) -> None:
        self.rows = slice(start, start + len(scales))
        self.each = each
        self.loras = slice(first, first + len(scales) // each)
        self.scale: float | Sequence[float] = scales[0] if len(set(scales)) == 1 else scales

    def __len__(self) -> int:
        return self.rows.stop - self.rows.start


Pass = Sequence[BatchedProduct]
"""Products of different rows: the first LoRA of each, say."""


def passes_of_one_rank(names: Sequence[str], loras: RowLoras, *, trim: bool) -> Iterator[Pass]:
    """The first LoRA of every row, then the second one of those that have two; ``names`` in the stack's order.

    With ``trim`` rows without a LoRA take no part at either end.
    """
    queues = [_picks(names, row) for row in loras]
    for number in range(max(map(len, queues), default=0)):
        picks = [queue[number] if number < len(queue) else (0, 0.0) for queue in queues]
        start, stop = _taken(picks) if trim else (0, len(picks))
        yield list(_ascending_products(start, picks[start:stop]))


def _picks(names: Sequence[str], row: Mapping[str, float]) -> list[Pick]:
    """The row's LoRAs that change this layer."""
    return [(1 + names.index(name), share) for name, share in row.items() if name in names and share]


def _taken(picks: Sequence[Pick]) -> tuple[int, int]:
    """From the first row that has a LoRA to the last one."""
    taken = [place for place, (lora, _) in enumerate(picks) if lora]
    return taken[0], taken[-1] + 1


def _ascending_products(start: int, picks: Sequence[Pick]) -> Iterator[BatchedProduct]:
    """Products of rows that pick a LoRA each: as few as there are runs of ascending places.

    A run is of groups as large as its first, whose LoRAs follow each other in the stack: places 0 1 2 are one
    product, 0 0 1 1 are one, 0 0 1 are two.
    """
    groups = [list(group) for _, group in groupby(picks, key=lambda pick: pick[0])]
    while groups:
        run = _ascending_run(groups)
        each, first = len(groups[0]), groups[0][0][0]
        scales: list[float] = []
        for group in groups[:run]:
            scales.extend(scale for _, scale in group)
        anything = next((scale for scale in scales if scale), 0.0)
        yield BatchedProduct(start, each, first, [scale or anything for scale in scales])  # 0 is of the LoRA of zeros
        start, groups = start + each * run, groups[run:]


def _ascending_run(groups: Sequence[Sequence[Pick]]) -> int:
    """How many of the first groups are as large as the first and follow each other in the stack."""
    each, first = len(groups[0]), groups[0][0][0]
    run = 1
    while run < len(groups) and len(groups[run]) == each and groups[run][0][0] == first + run:
        run += 1
    return run


def equal_runs(values: Sequence[float]) -> list[tuple[slice, float]]:
    """Contiguous runs of one value other than 0, with the value.

    >>> equal_runs([0.0, 1.0, 1.0, 0.5])
    [(slice(1, 3, None), 1.0), (slice(3, 4, None), 0.5)]
    """
    found: list[tuple[slice, float]] = []
    start = 0
    for value, run in groupby(values):
        stop = start + len(list(run))
        if value:
            found.append((slice(start, stop), value))
        start = stop
    return found
