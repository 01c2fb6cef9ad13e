"""`python -m bench.merging.ablation`: what margin, ridge and the number of LoRAs do to the error on inputs held out.

Every layer is solved by every variant from the same inputs; layers behind see those that ``default`` has merged.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from bench.merging.cases import SETS
from bench.quality import folder
from clora_ext.hosts.diffusers.checkpoint import load
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.merging import DrawnFeatures
from clora_ext.merge.features import FeatureTensors
from clora_ext.merge.inputs import Ingredient, read_ingredients
from clora_ext.merge.layer import LayerDelta
from clora_ext.merge.methods import ByContrast
from clora_ext.merge.run import Merge, Merged, Source, Stage, is_linear, stage_of
from clora_ext.merge.solve import Solved
from clora_ext.merge.span import LoraSpan
from clora_ext.merge.store import Store

USUAL = ByContrast()
VARIANTS: Mapping[str, ByContrast] = {
    "default": USUAL,
    **{f"margin {margin:g}": replace(USUAL, margin=margin) for margin in (0.0, 0.25, 1.0)},
    **{f"ridge {ridge:g}": replace(USUAL, ridges=(ridge,)) for ridge in (1e-6, 1e-3, 1e-1, 10.0)},
}
"""By what they differ from ``default``."""
Errors = dict[str, dict[str, float]]
"""By variant and stage, the mean over the stage's layers."""


@dataclass
class Varied:
    """``default`` that solves every layer by all variants besides, and keeps their errors in order."""

    errors: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in VARIANTS})
    as_released: bool = False
    span = USUAL.span
    features = USUAL.features
    width = USUAL.width
    nbytes = USUAL.nbytes

    def solve(
        self, span: LoraSpan, deltas: Sequence[LayerDelta], features: Sequence[FeatureTensors], weight: Tensor
    ) -> Solved:
        """By all; what ``default`` found."""
        found = {name: one.solve(span, deltas, features, weight) for name, one in VARIANTS.items()}
        for name, solved in found.items():
            self.errors[name].append(solved.error)
        return found["default"]


def errors(loras: Sequence[Merged], source: Source, work: Path) -> Errors:
    """Of the merge of ``loras`` in the folder ``work``."""
    varied = Varied()
    with tqdm(desc=f"{len(loras)} LoRAs", mininterval=5.0) as bar:
        merge = Merge(loras, source, varied, Store(work, {}), tell=lambda _: bar.update())
        bar.reset(merge.total)
        merge.run()
    solved = [layer for group in merge.groups for layer in group.layers if is_linear(source.modules[layer])]
    return {name: _by_stage(solved, each) for name, each in varied.errors.items()}


def _by_stage(layers: Sequence[str], found: Sequence[float]) -> dict[str, float]:
    by_stage: dict[str, list[float]] = {stage.value: [] for stage in Stage}
    for layer, error in zip(layers, found, strict=True):
        by_stage[stage_of(layer).value].append(error)
    return {stage: round(sum(each) / len(each), 4) for stage, each in by_stage.items() if each}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; writes the errors by the number of LoRAs."""
    parser = argparse.ArgumentParser(prog="python -m bench.merging.ablation", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/bench-merging/ablation.json"))
    parser.add_argument("--concepts", type=int, nargs="*", default=sorted(SETS))
    options = parser.parse_args(arguments)
    world = folder.tiny_world()
    model, library = load(world.checkpoint, world.config, world.tokenizer), Library(*world.loras)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    for number in options.concepts:
        ingredients = [Ingredient(library.path(name)) for name in SETS[number]]
        loras = read_ingredients(ingredients, model.family.value)
        with tempfile.TemporaryDirectory() as work:
            source = DrawnFeatures(model, [lora.trigger for lora in loras])
            found[str(number)] = errors(loras, source, Path(work) / "merge")
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
