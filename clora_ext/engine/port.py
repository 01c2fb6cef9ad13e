"""What the engine asks of a host."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from clora_ext.core.rows import Row


class Denoiser(Protocol):
    """A diffusion model at the noise level of the current step."""

    def forward(self, latent: Tensor, rows: Sequence[Row]) -> Tensor:
        """Call the UNet, row by row on ``latent[row.image]`` with the row's own text; conditional rows come first.

        One call, or one for each half of guidance where their texts differ in length (``core.rows.by_length``).

        ``latent`` [image, channel, y, x] is the variance preserving z; gradients flow back to it. The predictions
        [row, channel, y, x] are of the kind that ``Composition.after`` is given.
        """
        ...

    def texts(self, rows: Sequence[Row]) -> Tensor:
        """The conditions of ``rows``, stacked: [row, token, width]."""
        ...
