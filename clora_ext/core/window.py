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

    def around(self, part: Tensor) -> Tensor:
        """``part`` [..., height, width] where it is in the whole picture, 0 elsewhere; cells keep their size."""
        height, top = _place(self.top, self.bottom, part.shape[-2])
        width, left = _place(self.left, self.right, part.shape[-1])
        whole = part.new_zeros(*part.shape[:-2], height, width)
        whole[..., top : top + part.shape[-2], left : left + part.shape[-1]] = part
        return whole


def _place(start: float, end: float, count: int) -> tuple[int, int]:
    """How many cells the whole has of which the part has ``count``, and where the part begins."""
    whole = max(round(count / (end - start)), count)
    return whole, min(round(start * whole), whole - count)


def _cells(start: float, end: float, count: int) -> slice:
    first = min(round(start * count), count - 1)
    return slice(first, max(round(end * count), first + 1))
