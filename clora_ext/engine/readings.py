"""The numbers of a step, which stay on the device until it is over: reading one waits for all that was begun."""

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from clora_ext.core.shapes import RegionMasks
from clora_ext.engine.update import UpdateLog


class Readings:
    """What the updates of a step came to and who draws how much, read by one copy from the device."""

    def __init__(self, log: UpdateLog, regions: Sequence[RegionMasks]) -> None:
        separation = [] if log.separation is None else [log.separation]
        shares: list[Tensor] = []
        for image in regions:
            shares.extend(image.flatten(1).mean(dim=1))
        numbers = iter(_read([*log.losses, *log.gradient_rms, *separation, *log.finite, *shares]))
        self.losses = _next(numbers, len(log.losses))
        self.gradient_rms = _next(numbers, len(log.gradient_rms))
        self.separation = next(numbers) if separation else None
        finite = _next(numbers, len(log.finite))
        self.notes = ("an update was left out: its gradient was not finite",) * (not all(finite))
        areas = [_next(numbers, len(image)) for image in regions]
        self.areas = tuple(tuple(round(area, 4) for area in image) for image in areas)
        """Per image, the share of the picture that each branch draws, base first."""


def _next(numbers: Iterator[float], count: int) -> tuple[float, ...]:
    return tuple(islice(numbers, count))


def _read(numbers: Sequence[Tensor]) -> list[float]:
    if not numbers:
        return []
    exact = any(number.dtype == torch.float64 for number in numbers)  # which not every device has
    found: list[float] = torch.stack(
        [number.to(torch.float64 if exact else torch.float32) for number in numbers]
    ).tolist()
    return found
