"""A painter of three layers, whose texts are noise of their own: a merge with joint steps takes a moment."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from clora_ext.batch.conditions import Condition, stacked
from clora_ext.core.maps import Grid
from clora_ext.merge.prompted import PromptedSource
from clora_ext.merge.prompts import Prompts
from clora_ext.merge.work import Base
from tests.merge.toy_source import CONVOLVED, CROSS, TEXT, WIDTH

PROMPTS = Prompts(("a {}", "the {}"), ("the {}",), pictured=("a {}", "the {}"))
SIDE = 32


class ToyPainter(PromptedSource):
    """Meets ``merge.work.MergeModel``: latents of 4 by 4, the text joined to them as four channels more."""

    family = None
    predicts_velocity = False
    alphas_cumprod = torch.linspace(0.999, 0.01, 1000)
    room: float | None = None

    def __init__(
        self,
        triggers: Sequence[str],
        prompts: Prompts = PROMPTS,
        steps: int = 3,
        size: Grid | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(triggers, prompts, size or (SIDE, SIDE), on_step)
        self.device, self.dtype, self.steps = torch.device("cpu"), torch.float32, steps
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.modules = {
                TEXT: nn.Linear(WIDTH, WIDTH),
                CROSS: nn.Linear(WIDTH, WIDTH),
                CONVOLVED: nn.Conv2d(WIDTH, 4, 3, padding=1),
            }
        self.weights = {layer: module.weight.detach() for layer, module in self.modules.items()}
        self.predictions = 0

    def encode_all(self, written: Sequence[str]) -> list[Condition]:
        """Noise of each text, through the text layer."""
        chances = [torch.Generator().manual_seed(zlib.crc32(text.encode())) for text in written]
        read = self.modules[TEXT](torch.stack([torch.randn(6, WIDTH, generator=chance) for chance in chances]))
        return [Condition(each) for each in read]

    def nothing(self) -> Condition:
        """As a text."""
        return self.encode("")

    def concept(self, text: str, trigger: str) -> tuple[tuple[int, ...], int]:
        """The first token."""
        return (0,), 5

    def draw(self, written: Sequence[str], noise: Tensor) -> None:
        """One call for each step."""
        condition = stacked([self.encode(text) for text in written])
        for step in range(self.steps):
            noise = noise - 0.1 * self.predict(noise, torch.full((len(noise),), 500 - step), condition)
            self.on_step()

    def predict(self, z: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The convolution of both, the latent as strong as the text has it."""
        self.predictions += 1
        keys = self.modules[CROSS](condition.tokens).mean(1)[:, :4, None, None]
        painted: Tensor = self.modules[CONVOLVED](torch.cat([z * keys, keys.expand_as(z)], 1))
        return painted * (timesteps / 1000).view(-1, 1, 1, 1)


class Painters:
    """Opens the painter, and keeps what was opened."""

    def __init__(self) -> None:
        self.models: list[ToyPainter] = []

    def __call__(self) -> Base:
        return Base("toy.safetensors", ("toy", 1), self.model)

    def model(self, triggers, prompts, steps, size, on_step) -> ToyPainter:
        """As a host does."""
        self.models.append(ToyPainter(triggers, prompts, steps, size, on_step))
        return self.models[-1]
