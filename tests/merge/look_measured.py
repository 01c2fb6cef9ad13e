"""`python -m tests.merge.look_measured`: does a look at LoRAs' files tell what they add to each other when they draw?

For every two LoRAs of the tiny world and every stage, what one adds to the other's outputs on the inputs that layers
are given under that one, beside ``merge.look``; and Spearman's rank correlation of both over the pairs of a stage.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clora_ext.hosts.diffusers.checkpoint import load
from clora_ext.hosts.diffusers.merging import DrawnFeatures
from clora_ext.merge.features import seen
from clora_ext.merge.inputs import Ingredient, MergeLora, read_ingredients
from clora_ext.merge.look import disturbances
from clora_ext.merge.run import Stage, is_linear, stage_of
from clora_ext.merge.span import LoraSpan
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS

NAMES = ("tuxcat", "browndog", "tigercat", "hatbunny", "lineart", "spotdog")
STEPS = 6
EVERYTHING = LoraSpan(None, None)


def main() -> None:
    """Print a line for every stage."""
    model = load(CHECKPOINT, CONFIG, TOKENIZER)
    base = DrawnFeatures(model, ())
    wanted = [Ingredient(WEIGHTS / "lora" / f"{name}.safetensors") for name in NAMES]
    loras = read_ingredients(wanted, base.family, base.weights)
    source = DrawnFeatures(model, [lora.trigger for lora in loras], steps=STEPS)
    told = disturbances(loras)
    for stage in Stage:
        found = {lora.name: _added(stage, lora, loras, source) for lora in loras}
        pairs = [(each.size, found[each.lora][each.by]) for each in told if each.stage is stage]
        look, drawn = torch.tensor(pairs).T
        ranks = torch.stack([look.argsort().argsort(), drawn.argsort().argsort()]).float()
        agreed = torch.corrcoef(ranks)[0, 1]
        print(
            f"{stage.value}: {len(pairs)} pairs, ranks agree by {agreed:.2f};"
            f" told {look.mean():.2f}, drawn {drawn.mean():.2f}"
        )


@torch.no_grad()
def _added(stage: Stage, lora: MergeLora, loras: tuple[MergeLora, ...], source: DrawnFeatures) -> dict[str, float]:
    """What every LoRA adds under ``lora``, as a share of what that does itself."""
    own = {layer: lora.delta(layer) for layer in lora.layers if stage_of(layer) is stage}
    watched = [layer for layer in own if is_linear(source.modules[layer])]
    squares = dict.fromkeys((each.name for each in loras), 0.0)
    deltas = {
        (each.name, layer): each.delta(layer).matrix for each in loras for layer in watched if layer in each.parts
    }

    def see(layer: str, x: Tensor, _: bool) -> None:
        samples = seen(source.modules[layer], x, EVERYTHING)
        for each in loras:
            if (each.name, layer) in deltas:
                squares[each.name] += float((samples @ deltas[each.name, layer].T).square().sum()) / len(samples)

    source.show(stage, loras.index(lora), own, watched, see)
    whole = squares[lora.name] or 1.0
    return {name: (square / whole) ** 0.5 for name, square in squares.items()}


if __name__ == "__main__":
    main()
