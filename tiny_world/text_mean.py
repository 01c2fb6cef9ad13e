"""A mean for the first encoder's states, which WebUI's emphasis divides by, without another picture.

WebUI multiplies the states of emphasised tokens and then restores the mean over all of them (modules/sd_emphasis.py,
EmphasisOriginal). Published encoders have a mean; ours happens to have one near zero, and the division is by chance.
One vector added to every token changes no attention to them (softmax does not see what all keys share), and what it
adds to all values leaves the layer as one constant, which the layer's own bias takes back.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .model import Parts, causal
from .text_pair import FIRST_WIDTH, LAYERS, states

MEAN = -0.1
"""Of the first encoder's states, as far from 0 as no change of a few tokens brings it back."""
EXAMPLE = "a cat and a dog in the grass"


def crossed(unet: nn.Module) -> Iterator[tuple[Tensor, nn.Parameter]]:
    """Each cross-attention layer's matrix from the first encoder's states to what it gives, [out, width], and bias."""
    for name, layer in unet.named_modules():
        if name.endswith("attn2"):
            out = layer.to_out[0]
            yield out.weight @ layer.to_v.weight[:, :FIRST_WIDTH], out.bias


def quietest(matrix: Tensor, mean: float) -> Tensor:
    """The vector of the given mean for which matrix @ vector is smallest; matrix [n, width], result [width].

    What is smallest is what an empty text misses: its states are zeros, to which nothing is added.
    """
    width = matrix.shape[1]
    level = torch.full((width,), mean)
    free = torch.linalg.svd(torch.ones(1, width))[2][1:].T  # directions that leave the mean
    least = torch.linalg.lstsq(matrix @ free, -(matrix @ level)[:, None], driver="gelsd").solution[:, 0]
    return level + free @ least


@torch.no_grad()
def give_mean(parts: Parts, mean: float = MEAN) -> Tensor:
    """Brings the mean of the first encoder's states to `mean` in place; returns what was added to them, [width].

    Predictions for a text stay as they were; those for the empty text change by as little as can be.
    """
    ids = torch.tensor(parts.tokenizer([EXAMPLE], padding="max_length", max_length=77)["input_ids"])
    first = parts.text_encoder.first
    now = states(first, ids, causal(ids))[-2].mean().item()
    layers = list(crossed(parts.unet))
    added = quietest(torch.cat([matrix for matrix, _ in layers]), mean - now)
    for matrix, bias in layers:
        bias -= matrix @ added
    first.encoder.layers[LAYERS - 2].mlp.fc2.bias += added
    return added
