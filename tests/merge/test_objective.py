"""The objective equals an obvious one, and its closed forms are where its gradient vanishes."""

from dataclasses import replace

import pytest
import torch

from clora_ext.merge.objective import closed_forms, pushed
from clora_ext.merge.span import span_of
from tests.merge.layers import EVERYTHING, case
from tests.obvious import merging

MARGINS = (0.0, 0.5, 1.5)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_the_loss_is_the_obvious_one(margin: float, ridge: float):
    layer = case()
    for scale in (0.0, 0.3, 1.0):
        delta = torch.randn(9, 12, dtype=torch.float64) * scale
        wanted = merging.objective(delta, layer.own, layer.inputs, margin, ridge)
        torch.testing.assert_close(layer.problem(EVERYTHING).loss(delta, margin, ridge), wanted)


def test_in_the_span_it_is_the_same_loss_of_the_same_delta():
    layer = case()
    span = span_of(layer.deltas)
    found = torch.randn(6, 6, dtype=torch.float64)
    problem, whole_problem = layer.problem(span), layer.problem(EVERYTHING)
    assert problem.moments.shape == (3, 6, 6)
    delta = span.delta(found, (9, 12)).matrix
    torch.testing.assert_close(problem.loss(found, 0.9, 0.0), whole_problem.loss(delta, 0.9, 0.0))


@pytest.mark.parametrize("margin", MARGINS)
def test_its_gradient_is_that_of_finite_differences(margin: float):
    problem = case().problem(EVERYTHING)
    delta = torch.randn(9, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: problem.loss(each, margin, 0.1), delta)


@pytest.mark.parametrize("ridge", [1e-3, 1e-1, 1.0])
def test_the_closed_form_is_the_least_without_a_margin(ridge: float):
    for span in (EVERYTHING, span_of(case().deltas)):
        problem = case().problem(span)
        (found,) = closed_forms(problem, (ridge,))
        found.requires_grad_()
        problem.loss(found, 0.0, ridge).backward()
        assert found.grad.abs().max() < 1e-8
        assert found.abs().max() > 0.01


def test_a_ridge_of_nothing_gives_the_shortest_least():
    layer = case(loras=2, width=30)
    (found,) = closed_forms(layer.problem(EVERYTHING), (0.0,))
    inputs = torch.cat([x / len(x) ** 0.5 for x in layer.inputs])
    outputs = torch.cat([x @ own.T / len(x) ** 0.5 for x, own in zip(layer.inputs, layer.own, strict=True)])
    wanted = (torch.linalg.pinv(inputs, rtol=1e-7) @ outputs).T
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_steps_against_the_margin_end_where_the_gradient_vanishes():
    layer = case(loras=2, rank=4, apart=0.1)
    problem = layer.problem(EVERYTHING)
    pairs, margin, ridge = problem.pairs(), 0.9, 0.01
    (found,) = closed_forms(problem, (ridge,))
    before = float(problem.loss(found, margin, ridge))
    assert problem.nearness(found, pairs).min() < margin, "the margin has nothing to do"
    for _ in range(500):
        found = pushed(problem, found, margin, ridge, pairs)
    assert float(problem.loss(found, margin, ridge)) < before - 1e-4
    found.requires_grad_()
    problem.loss(found, margin, ridge).backward()
    assert found.grad.abs().max() < 1e-6


def test_without_a_margin_a_step_goes_nowhere():
    problem = case().problem(EVERYTHING)
    (found,) = closed_forms(problem, (0.01,))
    torch.testing.assert_close(pushed(problem, found, 0.0, 0.01, problem.pairs()), found)


def test_loras_that_do_the_same_are_not_pushed_apart():
    layer = case(loras=2)
    layer.deltas[1] = layer.deltas[0]
    problem = layer.problem(EVERYTHING)
    assert float(problem.loss(problem.targets[0], 1.0, 0.0)) == 0.0


def test_a_ridge_pulls_to_where_it_is_begun():
    problem = replace(
        case(loras=2, rank=4, apart=0.1).problem(EVERYTHING), start=torch.randn(9, 12, dtype=torch.float64)
    )
    far, near = closed_forms(problem, (1e9, 0.1))
    torch.testing.assert_close(far, problem.start, rtol=1e-5, atol=1e-5)
    away = near
    for _ in range(500):
        away = pushed(problem, away, 0.9, 0.1, problem.pairs())
    assert not torch.allclose(near, away)
    for margin, found in ((0.0, near), (0.9, away)):
        least = found.clone().requires_grad_()
        problem.loss(least, margin, 0.1).backward()
        assert least.grad.abs().max() < 1e-6
