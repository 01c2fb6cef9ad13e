"""OpenCLIP's attention, whose four projections a LoRA changes one by one, as four layers."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clora_ext.patching import replaced


class SplitAttention:
    """The projections of one attention by kohya's names of them; q, k and v are views of one matrix in it."""

    def __init__(self, whole: nn.MultiheadAttention) -> None:
        self.whole = whole
        parts = whole.in_proj_weight.detach().chunk(3)
        self._joined = [_linear(weight) for weight in parts]
        names = [f"{side}_proj" for side in "qkv"]
        self.layers: Mapping[str, nn.Linear] = {
            **dict(zip(names, self._joined, strict=True)),
            "out_proj": whole.out_proj,
        }

    @contextmanager
    def split(self) -> Generator[None, None, None]:
        """While inside, the attention calls its projections as layers, so that their hooks are called too."""
        with replaced(self.whole, "forward", lambda _: self._forward):
            yield

    def _forward(
        self, x: Tensor, key: Tensor, value: Tensor, *_: Any, attn_mask: Tensor | None = None, **__: Any
    ) -> tuple[Tensor, None]:
        """Self-attention of [token, text, width], as ``nn.MultiheadAttention`` has it."""
        self._follow()
        query, keys, values = (self._by_head(layer(x)) for layer in self._joined)
        mask = None if attn_mask is None else attn_mask.to(query)
        found = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        joined: Tensor = self.whole.out_proj(found.permute(2, 0, 1, 3).flatten(2))
        return joined, None

    def _follow(self) -> None:
        """The weights are where the host has moved the attention to."""
        weights, biases = self.whole.in_proj_weight.chunk(3), self.whole.in_proj_bias.chunk(3)
        for layer, weight, bias in zip(self._joined, weights, biases, strict=True):
            layer.weight.data, layer.bias.data = weight.data, bias.data

    def _by_head(self, x: Tensor) -> Tensor:
        """[token, text, width] as [text, head, token, width of a head]."""
        heads: Tensor = x.unflatten(-1, (self.whole.num_heads, -1))
        return heads.permute(1, 2, 0, 3)


def _linear(weight: Tensor) -> nn.Linear:
    out, inputs = weight.shape
    found = nn.Linear(inputs, out, device="meta")
    found.weight = nn.Parameter(weight, requires_grad=False)
    found.bias = nn.Parameter(torch.empty(0), requires_grad=False)
    return found
