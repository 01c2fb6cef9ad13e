"""The released code's objective and its numbers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clora_ext.merge.layer import FactoredDelta
from clora_ext.merge.official import Official, contrast, official
from tests.golden.loraclr.make import CASES
from tests.merge.layers import Case, case
from tests.obvious import merging

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "loraclr"

PUSHED = 500.0
"""A margin beyond the distances of these outputs."""


def _alike(layer: Case) -> list[torch.Tensor]:
    return [x[:20] for x in layer.inputs]


@pytest.mark.parametrize("margin", [0.0, PUSHED])
def test_pull_and_push_are_the_obvious_ones(margin: float):
    layer, weight = case(), torch.randn(9, 12, dtype=torch.float64)
    offset = torch.randn(9, 12, dtype=torch.float64)
    inputs = torch.stack(_alike(layer))
    own = torch.stack([x @ (weight + each).T for x, each in zip(inputs, layer.own, strict=True)])
    found = contrast(inputs @ (weight + offset).T, own, margin)
    wanted = merging.released(weight, offset, layer.own, list(inputs), margin)
    torch.testing.assert_close(found, wanted)
    assert margin == 0.0 or float(found) != pytest.approx(float(contrast(inputs @ (weight + offset).T, own, 0.0)))


def test_its_gradient_is_that_of_finite_differences():
    own = torch.randn(3, 4, 5, dtype=torch.float64)
    found = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: contrast(each, own, 8.0), found)


def test_no_number_moves_further_than_the_learning_rate_lets_it():
    layer, weight = case(), torch.randn(9, 12, dtype=torch.float64)
    found = official(weight, layer.deltas, layer.inputs, Official())
    assert 0.001 < found.abs().max() < 50 * 1e-4 * 1.01


def test_with_time_it_comes_to_one_loras_own_delta():
    layer, weight = case(loras=1), torch.randn(9, 12, dtype=torch.float64)
    layer.inputs[0] = torch.randn(40, 12, dtype=torch.float64)
    long = Official(iterations=400, learning_rate=0.05, shrink=0.0, decay=0.0)
    found = official(weight, layer.deltas, layer.inputs, long)
    torch.testing.assert_close(found, layer.deltas[0].matrix, atol=1e-2, rtol=0)


def test_the_best_iteration_is_kept():
    layer, weight = case(), torch.randn(9, 12, dtype=torch.float64)
    wild = Official(iterations=3, learning_rate=100.0)
    assert not official(weight, layer.deltas, layer.inputs, wild).any()


@pytest.mark.parametrize("name", CASES)
def test_it_learns_what_the_authors_own_code_learns(name: str):
    case = load_file(GOLDEN / f"{name}.safetensors")
    deltas = [
        FactoredDelta(tuple(case["weight"].shape), up, down) for up, down in zip(case["up"], case["down"], strict=True)
    ]
    found = official(case["weight"], deltas, list(case["inputs"]), Official())
    assert (found - case["delta"]).norm() < 1e-3 * case["delta"].norm()
    assert case["delta"].norm() > 1e-3


def test_a_golden_case_is_within_the_margin_and_one_is_not():
    for name, pushed in (("close", True), ("strong", False)):
        case = load_file(GOLDEN / f"{name}.safetensors")
        own = case["inputs"] @ (case["weight"] + case["up"] @ case["down"]).mT
        assert bool((contrast(own, own, 0.5) > 0.0) == pushed)
