"""A small host, written only against the port: a UNet with ldm's names, texts of plain words, LoRAs in a dictionary."""

import math
import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from clora_ext.batch.conditions import Condition, of_images
from clora_ext.batch.rows import Half, Row
from clora_ext.engine.branches import ActiveLora, Branches
from clora_ext.engine.report import StepReport
from clora_ext.lora.deltas import Delta, LowRank
from clora_ext.prompt import LoraFacts

Loras = Mapping[str, Mapping[nn.Module, Delta]]


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
            blocks = [Block(width, context) for _ in range(3)]
            inp, down = nn.Conv2d(4, width, 3, padding=1), nn.Conv2d(width, width, 3, stride=2, padding=1)
            self.input_blocks = nn.ModuleList([inp, blocks[0], down])
            self.middle_block = blocks[1]
            self.output_blocks = nn.ModuleList([nn.Upsample(), blocks[2], nn.Conv2d(width, 4, 3, padding=1)])
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=0.8 / math.sqrt(max(parameter[0].numel(), 1)))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        inp, first_block, down = self.input_blocks
        first = first_block(inp(x), context)
        middle = self.middle_block(down(first), context)
        up = nn.functional.interpolate(middle, first.shape[-2:], mode="nearest")
        return self.output_blocks[2](self.output_blocks[1](first + up, context))


class ToyTexts:
    """A condition [token, width] for every row; a routed row has its branch's own."""

    def __init__(self, tokens: Mapping[Row, Tensor]) -> None:
        self.tokens = tokens

    def at(self, rows: Sequence[Row], call: int) -> Mapping[Row, Condition]:
        return {row: Condition(self.tokens[row._replace(routed=False)]) for row in rows}


class ToyHost:
    """Meets ``engine.port.Host``; token column c of a text is its word number c, from 1."""

    adds_everywhere = False
    device = torch.device("cpu")

    def __init__(self, unet: nn.Module, loras: Loras, texts: Mapping[Row, Tensor], free: float | None = None) -> None:
        self.unet, self.loras, self.texts, self.free = unet, loras, texts, free
        self.steps: list[StepReport] = []

    def facts(self, lora: str) -> LoraFacts:
        return LoraFacts(lora)

    def text_forms(self, text: str) -> Sequence[tuple[int, str]]:
        return [(sys.maxsize, text)]

    def columns(self, text: str, form: str, spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        return tuple(1 + len(text[:start].split()) for start, _ in spans)

    def encode(self, branches: Sequence[Branches]) -> ToyTexts:
        return ToyTexts(self.texts)

    def deltas(self, loras: Sequence[ActiveLora]) -> Loras:
        return {lora.key: at_strength(self.loras[lora.name], lora.unet) for lora in loras}

    def check_interrupt(self) -> None:
        """Nobody interrupts."""

    def show_progress(self, step: StepReport) -> None:
        self.steps.append(step)

    def free_bytes(self) -> float | None:
        return self.free


def at_strength(changes: Mapping[nn.Module, LowRank], weight: float) -> Mapping[nn.Module, Delta]:
    """A LoRA's changes at another weight than 1."""
    if weight == 1.0:
        return changes
    return {layer: LowRank(delta.down, delta.up, weight * delta.scale) for layer, delta in changes.items()}


class ToyDenoiser:
    """Meets ``engine.port.Denoiser``; the UNet's output is the prediction."""

    def __init__(self, unet: nn.Module, encoded: ToyTexts) -> None:
        self.unet, self.encoded = unet, encoded

    def conditions(self, rows: Sequence[Row]) -> list[Condition]:
        found = self.encoded.at(rows, 0)
        return [found[row] for row in rows]

    def predict(self, latent: Tensor, rows: Sequence[Row], condition: Condition) -> Tensor:
        return self.unet(of_images(latent, [row.image for row in rows]), condition.tokens.to(latent.dtype))


def texts(images: int, branches: int, *, tokens: int = 9, width: int = 6, seed: int = 1) -> dict[Row, Tensor]:
    """A random condition for every row."""
    generator = torch.Generator().manual_seed(seed)
    places = [(image, branch, half) for image in range(images) for branch in range(branches) for half in Half]
    return {Row(*place): torch.randn(tokens, width, generator=generator) for place in places}
