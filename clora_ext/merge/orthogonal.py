"""Steps of equal size in every direction of a matrix: momentum whose singular values are brought near 1.

It is Muon (Keller Jordan, 2024), which learns a model's matrices in fewer steps than Adam and keeps one tensor of each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM = 0.95
_WARM, _FLAT = 10, 0.4
"""Steps until the rate is whole, and the share of all after which it falls to nothing."""
_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial that takes every singular value between 0 and 1 near 1 when it is applied five times."""


def orthogonalised(matrices: Tensor) -> Tensor:
    """[..., m, n] with singular values near 1, by Newton and Schulz; zero stays zero."""
    a, b, c = _QUINTIC
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-30)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    found: Tensor = x.mT if is_tall else x
    return found


class OrthogonalSteps:
    """Moves ``matrices`` [m, n] against their gradients, by ``rate`` in each direction; tall ones by more.

    ``momenta`` [m, n] are what is kept between steps, for whoever goes on later.
    """

    def __init__(self, matrices: Sequence[Tensor], momenta: Sequence[Tensor] | None = None) -> None:
        self.matrices = list(matrices)
        self.momenta = [torch.zeros_like(each) for each in matrices] if momenta is None else list(momenta)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """One step; matrices of one shape are worked on together."""
        by_shape: dict[tuple[int, int], list[int]] = {}
        for number, matrix in enumerate(self.matrices):
            rows, columns = matrix.shape
            by_shape.setdefault((rows, columns), []).append(number)
        for (rows, columns), numbers in by_shape.items():
            for number in numbers:
                self.momenta[number].lerp_(gradients[number], 1.0 - MOMENTUM)
            ahead = [gradients[number].lerp(self.momenta[number], MOMENTUM) for number in numbers]
            far = rate * max(1.0, rows / columns) ** 0.5
            for number, move in zip(numbers, orthogonalised(torch.stack(ahead)), strict=True):
                self.matrices[number].sub_(move * far)


def share_of_rate(step: int, steps: int) -> float:
    """It grows for some steps, stays, and falls along a line."""
    left = (steps - step) / max(steps * (1.0 - _FLAT), 1.0)
    return min((step + 1) / _WARM, left, 1.0)
