"""A small UNet with ldm's attention names: the host of the engine's own tests."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from clora_ext.core.rows import Half, Row


class Attention(nn.Module):
    """Multi-head attention as ldm names its parts."""

    def __init__(self, width: int, context: int, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        q, k, v = split(self.to_q(x)), split(self.to_k(context)), split(self.to_v(context))
        out = (q @ k.transpose(-1, -2) * self.scale).softmax(-1) @ v
        return self.to_out(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Convolution, self- and cross-attention."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(2, width)
        self.attn1, self.attn2 = Attention(width, width), Attention(width, context)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + torch.tanh(self.conv(self.norm(x)))
        pixels = x.flatten(2).transpose(1, 2)
        pixels = pixels + self.attn1(pixels)
        pixels = pixels + self.attn2(pixels, context)
        return pixels.transpose(1, 2).unflatten(-1, x.shape[-2:])


class ToyUNet(nn.Module):
    """Two levels; cross-attention at factors 1 (first and last block) and 2 (middle)."""

    def __init__(self, width: int = 8, context: int = 6, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.inp = nn.Conv2d(4, width, 3, padding=1)
            self.blocks = nn.ModuleList([Block(width, context) for _ in range(3)])
            self.down = nn.Conv2d(width, width, 3, stride=2, padding=1)
            self.out = nn.Conv2d(width, 4, 3, padding=1)
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=0.8 / math.sqrt(max(parameter[0].numel(), 1)))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        first = self.blocks[0](self.inp(x), context)
        middle = self.blocks[1](self.down(first), context)
        up = nn.functional.interpolate(middle, first.shape[-2:], mode="nearest")
        return self.out(self.blocks[2](first + up, context))


class ToyDenoiser:
    """Meets the engine's port; ``texts`` has a condition [token, width] for every row."""

    def __init__(self, unet: ToyUNet, texts: Mapping[Row, Tensor]) -> None:
        self.unet, self.conditions = unet, texts

    def forward(self, latent: Tensor, rows: Sequence[Row]) -> Tensor:
        return self.unet(latent[[row.image for row in rows]], self.texts(rows).to(latent.dtype))

    def texts(self, rows: Sequence[Row]) -> Tensor:
        """The rows' conditions; a routed row has its branch's own."""
        return torch.stack([self.conditions[Row(row.image, row.branch, row.half)] for row in rows])


def texts(images: int, branches: int, *, tokens: int = 9, width: int = 6, seed: int = 1) -> dict[Row, Tensor]:
    """A random condition for every row."""
    generator = torch.Generator().manual_seed(seed)
    return {
        Row(image, branch, half): torch.randn(tokens, width, generator=generator)
        for image in range(images)
        for branch in range(branches)
        for half in Half
    }
