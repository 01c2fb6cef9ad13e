"""What a merge of one layer has to give where the answer is known."""

import pytest
import torch

from clora_ext.merge.features import Moments
from clora_ext.merge.layer import FactoredDelta, MatrixDelta
from clora_ext.merge.objective import Problem
from clora_ext.merge.solve import Solved, solve
from clora_ext.merge.span import LoraSpan, span_of
from tests.merge.layers import EVERYTHING, Case, case


def _solve(layer: Case, span: LoraSpan, **numbers: object) -> Solved:
    moments = layer.moments(span)
    return solve(span, layer.deltas, moments, moments, **numbers)


def _spans(layer: Case) -> tuple[LoraSpan, ...]:
    return span_of(layer.deltas), span_of(layer.deltas, rows=False), EVERYTHING


def test_one_lora_merges_into_itself():
    layer = case(loras=1)
    layer.inputs[0] = torch.randn(40, 12, dtype=torch.float64)
    for span in _spans(layer):
        solved = _solve(layer, span)
        torch.testing.assert_close(solved.delta.matrix, layer.own[0], rtol=1e-4, atol=1e-4)
        assert solved.error < 1e-8


def test_loras_with_inputs_apart_merge_exactly():
    layer = case(loras=3)
    layer.inputs[:] = [torch.randn(30, 4).double() @ torch.eye(12).double()[4 * i : 4 * i + 4] for i in range(3)]
    for span in _spans(layer)[1:]:
        delta = _solve(layer, span).delta.matrix
        for x, own in zip(layer.inputs, layer.own, strict=True):
            torch.testing.assert_close(x @ delta.T, x @ own.T, rtol=1e-4, atol=1e-4)


def test_in_the_span_too_where_each_reads_its_own_inputs():
    layer = case(loras=3)
    eye = torch.eye(12, dtype=torch.float64)
    for i in range(3):
        layer.deltas[i] = FactoredDelta((9, 12), layer.deltas[i].up, eye[4 * i : 4 * i + 2])
        layer.inputs[i] = torch.randn(30, 4, dtype=torch.float64) @ eye[4 * i : 4 * i + 4]
    delta = _solve(layer, span_of(layer.deltas)).delta.matrix
    torch.testing.assert_close(delta, sum(layer.own), rtol=1e-4, atol=1e-4)


def test_no_direction_outside_the_loras_makes_it_worse_and_the_span_is_no_better_than_everything():
    layer = case(loras=3, rank=2)
    inside, left, everything = (_solve(layer, span, margin=0.0, ridges=(1e-9,)) for span in _spans(layer))
    assert everything.error < inside.error
    torch.testing.assert_close(left.delta.matrix, everything.delta.matrix, rtol=1e-6, atol=1e-8)


def test_the_plain_sum_is_worse():
    layer = case(loras=4)
    problem = layer.problem(EVERYTHING)
    assert _solve(layer, span_of(layer.deltas)).error < float(problem.pull(sum(layer.own)).mean()) / 2


def test_its_rank_is_that_of_all_loras_together():
    layer = case(loras=3, rank=2, out=20, width=30)
    for span in _spans(layer)[:2]:
        delta = _solve(layer, span).delta
        assert isinstance(delta, FactoredDelta)
        assert delta.up.shape == (20, 6) and delta.down.shape == (6, 30)


def test_a_lora_that_leaves_the_layer_alone_keeps_its_outputs():
    layer = case(loras=2)
    layer.deltas[1] = FactoredDelta((9, 12), torch.zeros(9, 1).double(), torch.zeros(1, 12).double())
    eye = torch.eye(12, dtype=torch.float64)
    layer.inputs[:] = [torch.randn(30, 6).double() @ eye[:6], torch.randn(30, 6).double() @ eye[6:]]
    delta = _solve(layer, EVERYTHING).delta.matrix
    assert (layer.inputs[1] @ delta.T).abs().max() < 1e-4
    torch.testing.assert_close(layer.inputs[0] @ delta.T, layer.inputs[0] @ layer.own[0].T, rtol=1e-4, atol=1e-4)


def test_whole_differences_and_factors_merge_together():
    layer = case(loras=2)
    layer.deltas[1] = MatrixDelta((9, 12), torch.randn(9, 12, dtype=torch.float64))
    span = span_of(layer.deltas)
    assert span == EVERYTHING
    assert isinstance(_solve(layer, span).delta, MatrixDelta)


def test_a_layer_that_no_lora_deltas_stays():
    layer = case(loras=2)
    layer.deltas[:] = [FactoredDelta((9, 12), torch.zeros(9, 1).double(), torch.ones(1, 12).double())] * 2
    assert not _solve(layer, EVERYTHING).delta.matrix.any()


def test_the_ridge_is_the_best_for_inputs_that_were_held_out():
    layer = case(loras=3, rank=4, width=40)
    span = span_of(layer.deltas, rows=False)
    held = [Moments(torch.eye(40).double() + each.mean, 1) for each in layer.moments(span)]
    learned = layer.moments(span)
    errors = {ridge: solve(span, layer.deltas, learned, held, 0.0, (ridge,)).error for ridge in (1e-6, 1e-3, 1.0)}
    solved = solve(span, layer.deltas, learned, held, 0.0, tuple(errors))
    assert solved.error == pytest.approx(min(errors.values()))
    assert errors[solved.ridge] == min(errors.values())
    assert len(set(errors.values())) == 3


def test_the_margin_lowers_the_loss_on_inputs_that_were_held_out_or_does_nothing():
    layer = case(loras=2, rank=4, apart=0.1)
    problem: Problem = layer.problem(EVERYTHING)
    plain, pushed = (_solve(layer, EVERYTHING, margin=margin, ridges=(0.01,)) for margin in (0.0, 0.9))
    assert plain.steps == 0 and pushed.steps > 0
    losses = [float(problem.loss(each.delta.matrix, 0.9, 0.01)) for each in (plain, pushed)]
    assert losses[1] < losses[0]
