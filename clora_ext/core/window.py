"""A part of a picture."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a picture, by shares of its height and width."""

    top: float
    left: float
    bottom: float
    right: float

    def of(self, mask: Tensor) -> Tensor:
        """The cells of ``mask`` [..., height, width] of which more than half is inside; at least one."""
        height, width = mask.shape[-2:]
        return mask[..., _cells(self.top, self.bottom, height), _cells(self.left, self.right, width)]


def _cells(start: float, end: float, count: int) -> slice:
    first = min(round(start * count), count - 1)
    return slice(first, max(round(end * count), first + 1))
