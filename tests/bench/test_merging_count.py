"""What a merge is said to cost is what a meter counts."""

import pytest
import torch
from torch import nn

pytest.importorskip("diffusers", reason="the benchmark runs with the tools' Python")

from bench.merging.count import LayerShape
from bench.speed.meter import Meter
from clora_ext.merge.features import seen
from clora_ext.merge.layer import FactoredDelta
from clora_ext.merge.methods import ByContrast

LEARNED, HELD = 100, 50


def _measured(out: int, inputs: int, number: int, rank: int) -> tuple[int, int, int]:
    """FLOPs of moments and of solving, and the peak of the latter."""
    torch.manual_seed(0)
    layer, method = nn.Linear(inputs, out), ByContrast()
    deltas = [FactoredDelta((out, inputs), torch.randn(out, rank), torch.randn(rank, inputs)) for _ in range(number)]
    samples = [(torch.randn(LEARNED, inputs), torch.randn(HELD, inputs)) for _ in deltas]
    span = method.span(deltas)
    width = inputs if span.rows is None else len(span.rows)
    with Meter("cpu") as meter:
        features = [method.features(width, torch.device("cpu")) for _ in deltas]
        for each, (learned, held) in zip(features, samples, strict=True):
            each.add(seen(layer, learned, span), held=False)
            each.add(seen(layer, held, span), held=True)
        moments = meter.flops
        meter.start()
        method.solve(span, deltas, [each.tensors() for each in features], layer.weight.detach())
    return moments, meter.flops, meter.peak


@pytest.mark.parametrize(
    ("out", "inputs", "number", "rank"),
    [(64, 48, 3, 4), (320, 320, 12, 4), (64, 2100, 3, 4), (32, 48, 12, 8)],
    ids=["all inputs", "more LoRAs", "wide, in the span", "ranks that fill the layer"],
)
def test_flops_are_those_of_a_real_layer(out: int, inputs: int, number: int, rank: int):
    moments, solving, _ = _measured(out, inputs, number, rank)
    cost = LayerShape(out, inputs, LEARNED + HELD).cost(number, rank)
    assert cost.features == moments
    assert cost.products == pytest.approx(solving, rel=0.02)


def test_the_peak_is_that_of_a_real_layer():
    _, _, peak = _measured(320, 320, 12, 8)
    assert LayerShape(320, 320).cost(12, 8).peak == pytest.approx(peak, rel=0.15)
