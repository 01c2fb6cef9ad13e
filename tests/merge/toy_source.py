"""A model of three layers that reads words and draws numbers, and LoRAs for it: a merge that takes a moment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from clora_ext.merge.layer import FactoredDelta, LayerDelta, MatrixDelta
from clora_ext.merge.methods import MERGE_METHODS
from clora_ext.merge.run import Merge, See, Stage
from clora_ext.merge.solve import Solved
from clora_ext.merge.store import Store

TEXT, CROSS, CONVOLVED, NORM = "lora_te_text", "lora_unet_attn2_to_k", "lora_unet_conv", "lora_unet_norm"
WIDTH = 8


@dataclass(frozen=True)
class ToyLora:
    """Its deltas by layer."""

    deltas: Mapping[str, LayerDelta]

    @property
    def layers(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.deltas)

    def rank(self, layer: str) -> int:
        """Of one of them."""
        return self.deltas[layer].rank

    def delta(self, layer: str) -> LayerDelta:
        """One of them."""
        return self.deltas[layer]


def toy_lora(seed: int, rank: int = 2) -> ToyLora:
    """Random; the second of a pair leaves the norm alone."""
    torch.manual_seed(seed)
    deltas: dict[str, LayerDelta] = {
        layer: FactoredDelta((WIDTH, WIDTH), torch.randn(WIDTH, rank), torch.randn(rank, WIDTH) / 4)
        for layer in (TEXT, CROSS)
    }
    deltas[CONVOLVED] = FactoredDelta((4, WIDTH, 3, 3), torch.randn(4, rank), torch.randn(rank, WIDTH * 9) / 8)
    if seed % 2:
        deltas[NORM] = MatrixDelta((4,), torch.randn(4, 1), torch.randn(4))
    return ToyLora(deltas)


class ToySource:
    """Meets ``merge.run.Source``; keeps what it was asked."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.device = torch.device("cpu")
        self.modules = {
            TEXT: nn.Linear(WIDTH, WIDTH),
            CROSS: nn.Linear(WIDTH, WIDTH),
            CONVOLVED: nn.Conv2d(WIDTH, 4, 3, padding=1),
            NORM: nn.GroupNorm(2, 4),
        }
        self.asked: list[tuple[Stage, int, dict[str, LayerDelta], tuple[str, ...]]] = []

    def show(
        self, stage: Stage, lora: int, active: Mapping[str, LayerDelta], watched: Collection[str], see: See
    ) -> None:
        """Words of the LoRA's own, through the text layer and the next ones."""
        self.asked.append((stage, lora, dict(active), tuple(watched)))
        for held in (False, True):
            words = torch.randn(1, 6, WIDTH, generator=torch.Generator().manual_seed(10 * lora + held))
            read = self._through(TEXT, words, active)
            keys = self._through(CROSS, read, active)
            picture = keys.mT.reshape(1, WIDTH, 2, 3)
            for layer, x in ((TEXT, words), (CROSS, read), (CONVOLVED, picture)):
                if layer in watched:
                    see(layer, x, held)

    def _through(self, layer: str, x: torch.Tensor, active: Mapping[str, LayerDelta]) -> torch.Tensor:
        module = self.modules[layer]
        return module(x) + (x @ active[layer].matrix.T if layer in active else 0)


def toy_merge(
    folder: Path, tell: Callable[[str], None] = lambda _: None, method: str = "span", budget: int = 2**30
) -> tuple[Merge, ToySource]:
    """Of two LoRAs."""
    source = ToySource()
    store = Store(folder, {"method": method})
    return Merge([toy_lora(1), toy_lora(2)], source, MERGE_METHODS[method], store, budget, tell), source


def bits(found: Mapping[str, Solved]) -> dict[str, bytes]:
    """Every number of a merge."""
    return {layer: solved.delta.matrix.numpy().tobytes() for layer, solved in found.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)

    def told(what: str) -> None:
        """So that somebody can end this at any of these moments."""
        print(what, flush=True)
        sys.stdin.readline()

    toy_merge(Path(sys.argv[1]), told)[0].run()
