"""`python -m bench.merging.count`: FLOPs and peak memory of a merge by ``default``, from the shapes of layers.

A multiplication and an addition are two. Counted are the UNet's pictures, the moments of inputs, and solving; tests
hold the last two to what a meter counts. Decompositions, which no meter counts, are 9 q^3 for eigenvalues of [q, q]
and 4 a b^2 for an orthonormal basis of [a, b] (Golub and Van Loan). Left out are the LoRAs' own products while pictures
are drawn, and the text encoders' forwards.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.speed.meter import Meter, meta_as_gpu
from bench.speed.models import MODELS, loras, unet
from clora_ext.merge.layer import FactoredDelta
from clora_ext.merge.methods import WIDEST, ByContrast
from clora_ext.merge.prompts import PROMPTS
from clora_ext.merge.run import Merge, Stage, stage_of
from clora_ext.merge.solve import RIDGES
from clora_ext.merge.store import Store

STEPS = 20
TOKENS = 77
ENCODERS = {"sd15": ((768, 3072, 12),), "sdxl": ((768, 3072, 12), (1280, 5120, 32))}
"""Width, inner width and blocks of the text encoders."""
_TEXTS = len(PROMPTS.learned) + len(PROMPTS.held)
_PICTURES = 2 * PROMPTS.drawn
META = torch.device("meta")


@dataclass(frozen=True, slots=True)
class LayerShape:
    """A layer's ``out`` and ``inputs``, and how many of its inputs are seen under one LoRA."""

    out: int
    inputs: int
    samples: int = 0

    def cost(self, number: int, rank: int) -> "LayerCost":
        """What merging ``number`` LoRAs of ``rank`` takes here; no layer is moved by the margin more than once."""
        columns, rows = min(number * rank, self.out), min(number * rank, self.inputs)
        wide = self.inputs > WIDEST
        seen = rows if wide else self.inputs
        projected = 2 * self.samples * self.inputs * seen if wide and rows < self.inputs else 0
        features = number * (projected + 2 * self.samples * seen**2)
        solving = self._solving(number, rank, columns, seen)
        bases = 4 * self.out * (number * rank) ** 2 if columns < self.out else 0
        decomposed = 9 * seen**3 + bases
        if not wide and rows < self.inputs:
            narrowed = 2 * number * 2 * (rows * self.inputs**2 + rows**2 * self.inputs)
            first = _ridged(number, columns, rows) + self._coordinates(number, rank, columns, rows)
            start = 2 * columns * rows * self.inputs + self._coordinates(1, columns, columns, None)
            solving += narrowed + first + start
            decomposed += 9 * rows**3 + 4 * self.inputs * (number * rank) ** 2 + bases
        doubles = 6 * seen**2
        peak = 4 * number * (4 * seen**2 + 4 * columns * seen) + 4 * doubles
        return LayerCost(features, solving, decomposed, peak)

    def _solving(self, number: int, rank: int, columns: int, seen: int) -> int:
        rows = None if seen == self.inputs else seen
        written = 2 * columns * seen * self.inputs if rows is not None else 0
        own = self._coordinates(number, rank, columns, rows) + written
        return own + _ridged(number, columns, seen) + _pushed(number, columns, seen)

    def _coordinates(self, number: int, rank: int, columns: int, rows: int | None) -> int:
        """Of ``number`` deltas of ``rank`` in a span; ``rows`` None where all inputs count."""
        left = 2 * columns * self.out * rank if columns < self.out else 0
        right = 2 * rank * self.inputs * rows if rows is not None else 0
        return number * (left + right + 2 * columns * rank * (rows or self.inputs))


@dataclass(frozen=True, slots=True)
class LayerCost:
    """FLOPs of moments, of the solving's products and of its decompositions, and the most bytes while it is solved."""

    features: int
    products: int
    decompositions: int
    peak: int


def _ridged(number: int, columns: int, seen: int) -> int:
    """Products of ``solve._ridged``, its first check and its last error."""
    product = 2 * columns * seen**2
    return product * (number * (2 + 1 + 2 * len(RIDGES) + 2) + 2 + len(RIDGES))


def _pushed(number: int, columns: int, seen: int) -> int:
    """Products of ``solve._refined`` that tries one step."""
    product = 2 * columns * seen**2
    pairs, near, loss = 2 * (number**2 + number), number**2 + number, number**2 + 4 * number
    return product * (pairs + loss + near + number + loss)


# -- a model ---------------------------------------------------------------------------------------------------------


class MetaLora:
    """A LoRA of ``rank`` without numbers; meets ``merge.run.Merged``."""

    def __init__(self, modules: Mapping[str, nn.Module], rank: int) -> None:
        self.modules, self.rank = modules, rank
        self.layers = tuple(modules)

    def delta(self, layer: str) -> FactoredDelta:
        """Of the layer's shape."""
        shape = tuple(self.modules[layer].weight.shape)
        up, down = (torch.empty(size, device=META) for size in ((shape[0], self.rank), (self.rank, prod(shape[1:]))))
        return FactoredDelta(shape, up, down)


@dataclass(frozen=True, slots=True)
class MetaModel:
    """Layers by name, how many inputs each is given under one LoRA, one row's FLOPs, and bytes of weights in half."""

    modules: Mapping[str, nn.Module]
    samples: Mapping[str, int]
    row: int
    weights: int
    device: torch.device = META

    def show(self, *_: object) -> None:
        """Nothing to draw with."""


def meta_model(name: str) -> MetaModel:
    """``sd15`` or ``sdxl`` at the size that it was trained for."""
    shape = MODELS[name]
    network = unet(shape.config, "meta", torch.float16)
    (adapted,) = loras(network, 1, 1, as_kohya=True).values()
    names = {module: f"lora_unet_{path.replace('.', '_')}" for path, module in network.named_modules()}
    tokens: dict[str, int] = {}

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0]
        tokens[names[module]] = x.numel() // (x.shape[1] if isinstance(module, nn.Conv2d) else x.shape[-1])

    for module in adapted:
        module.register_forward_pre_hook(hook)
    side = shape.pixels // 8
    latent, text = (
        torch.empty(size, device=META, dtype=torch.float16) for size in ((1, 4, side, side), (1, TOKENS, shape.context))
    )
    more = {
        "text_embeds": torch.empty(1, 1280, device=META, dtype=torch.float16),
        "time_ids": torch.empty(1, 6, device=META),
    }
    with meta_as_gpu(), Meter("meta", network.parameters()) as meter:
        network(latent, 1, text, added_cond_kwargs=more if name == "sdxl" else None)
    modules = {names[module]: module for module in adapted} | _encoders(name)
    samples = {
        layer: _TEXTS * TOKENS if stage_of(layer) is not Stage.PICTURE else tokens[layer] * _PICTURES * STEPS
        for layer in modules
    }
    weights = sum(each.numel() for each in network.parameters()) + sum(
        blocks * (4 * w * w + 2 * w * i) for w, i, blocks in ENCODERS[name]
    )
    return MetaModel(modules, samples, meter.flops, 2 * weights)


def _encoders(name: str) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    for number, (width, inner, blocks) in enumerate(ENCODERS[name], start=1):
        sizes = {"q": (width, width), "k": (width, width), "v": (width, width), "out": (width, width)}
        sizes |= {"fc1": (width, inner), "fc2": (inner, width)}
        for block in range(blocks):
            for part, (inputs, out) in sizes.items():
                found[f"lora_te{number}_{block}_{part}"] = nn.Linear(inputs, out, device=META)
    return found


def counted(name: str, number: int, rank: int) -> dict[str, Any]:
    """A merge of ``number`` LoRAs of ``rank`` on a model: FLOPs by what they are for, and bytes."""
    model = meta_model(name)
    with tempfile.TemporaryDirectory() as work:
        merge = Merge([MetaLora(model.modules, rank)] * number, model, ByContrast(), Store(Path(work), {}))
    drawn = sum(group.stage is Stage.PICTURE for group in merge.groups)
    costs = [_shape(model, layer).cost(number, rank) for layer in model.modules]
    return {
        "layers": len(costs),
        "times_drawn": drawn,
        "drawing": model.row * number * drawn * _PICTURES * STEPS,
        "moments": sum(cost.features for cost in costs),
        "solving": sum(cost.products + cost.decompositions for cost in costs),
        "weights_bytes": model.weights,
        "inputs_bytes": merge.memory_bytes,
        "inputs_disk_bytes": merge.disk_bytes,
        "solving_bytes": max(cost.peak for cost in costs),
    }


def _shape(model: MetaModel, layer: str) -> LayerShape:
    weight = model.modules[layer].weight
    return LayerShape(weight.shape[0], weight[0].numel(), model.samples[layer])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; writes the counts of 12 LoRAs by model and rank."""
    parser = argparse.ArgumentParser(prog="python -m bench.merging.count", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/bench-merging/count.json"))
    options = parser.parse_args(arguments)
    found = {name: {str(rank): counted(name, 12, rank) for rank in (16, 128)} for name in ENCODERS}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
