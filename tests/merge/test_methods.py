"""The known ways to merge that look at a layer's inputs, as methods of a whole merge."""

import pytest
import torch
from torch import Tensor

from clora_ext.merge.baselines import ssr, stacked_downs
from clora_ext.merge.features import FeatureTensors
from clora_ext.merge.layer import FactoredDelta, MatrixDelta
from clora_ext.merge.methods import MERGE_METHODS
from tests.merge.layers import Case, case

WEIGHT = torch.zeros(9, 12)


def single() -> Case:
    """In single precision, as hosts give it."""
    layer = case(loras=3)
    deltas = [FactoredDelta(each.shape, each.up.float(), each.down.float()) for each in layer.deltas]
    return Case(deltas, [x.float() for x in layer.inputs])


def _kept(layer: Case, method: str) -> list[FeatureTensors]:
    """What a method keeps of the inputs, of which the first ten are held out."""
    span, found = MERGE_METHODS[method].span(layer.deltas), []
    for x in layer.inputs:
        features = MERGE_METHODS[method].features(len(span.rows) if span.rows is not None else 12, x.device)
        for held, part in ((True, x[:10]), (False, x[10:])):
            features.add(span.seen(part), held=held)
        found.append(features.tensors())
    return found


def _missed(layer: Case, delta: Tensor) -> float:
    """The error on what is held out, the slow way."""
    pairs = [(x[:10], own) for x, own in zip(layer.inputs, layer.own, strict=True)]
    away = [float((x @ (delta - own).T).square().sum(1).mean()) for x, own in pairs]
    usual = [float((x @ own.T).square().sum(1).mean()) for x, own in pairs]
    return sum(away) / sum(usual)


def test_ssr_routes_what_the_ways_down_make_of_the_inputs():
    layer = single()
    method = MERGE_METHODS["ssr"]
    solved = method.solve(method.span(layer.deltas), layer.deltas, _kept(layer, "ssr"), WEIGHT)
    seen = [x[10:] @ stacked_downs(layer.deltas).T for x in layer.inputs]
    expected = ssr(layer.deltas, [z.T @ z / len(z) for z in seen])
    torch.testing.assert_close(solved.delta.matrix, expected.matrix, rtol=1e-4, atol=1e-4)
    assert solved.error == pytest.approx(_missed(layer, solved.delta.matrix), rel=1e-3)


def test_fusion_is_the_pull_alone():
    layer = single()
    method = MERGE_METHODS["fusion"]
    solved = method.solve(method.span(layer.deltas), layer.deltas, _kept(layer, "fusion"), WEIGHT)
    assert solved.steps == 0
    assert solved.error == pytest.approx(_missed(layer, solved.delta.matrix), rel=0.02)
    assert solved.error < _missed(layer, sum(layer.own)) / 10


@pytest.mark.parametrize("method", sorted(MERGE_METHODS))
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("rank", [2, 5, 20])
def test_the_width_is_told_without_working_the_span_out(method: str, rank: int, whole: bool):
    layer = case(loras=3, rank=rank, out=4, width=12)
    deltas = [MatrixDelta(layer.deltas[0].shape, layer.own[0]), *layer.deltas[1:]] if whole else layer.deltas
    rows = MERGE_METHODS[method].span(deltas).rows
    assert MERGE_METHODS[method].width(deltas) == (12 if rows is None else len(rows))
