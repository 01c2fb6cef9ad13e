"""The contrastive loss: the paper's numbers, invariances, gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.core.loss import absence, info_nce, normalise, separation


def _points(points: list[list[float]], groups: list[int]) -> float:
    """The loss of given embeddings: padded with a 0 and a 1 pixel, min-max normalisation leaves them alone."""
    maps = torch.tensor(points, dtype=torch.float64)[:, None, :]
    return float(info_nce(maps, groups, 0.5))


def test_four_embeddings_give_the_reference_value():
    # (1,0) and (0,1) stay as they are under min-max; (.8,.6) would not, so cosine is checked on angles directly
    angles = [(1.0, 0.0), (0.8, 0.6), (0.0, 1.0), (0.6, 0.8)]
    groups = [0, 0, 1, 1]
    total, pairs = 0.0, 0
    similarity = [[a[0] * b[0] + a[1] * b[1] for b in angles] for a in angles]
    for i in range(4):
        for j in range(4):
            if i != j and groups[i] == groups[j]:
                negative = sum(math.exp(similarity[i][k] / 0.5) for k in range(4) if groups[k] != groups[i])
                positive = math.exp(similarity[i][j] / 0.5)
                total, pairs = total - math.log(positive / (positive + negative)), pairs + 1
    assert total / pairs == pytest.approx(0.8707137571, abs=1e-10)


def test_embeddings_through_the_real_loss_give_the_reference_value(monkeypatch: pytest.MonkeyPatch):
    from clora_ext.core import loss

    monkeypatch.setattr(loss, "normalise", lambda maps: maps)
    assert _points([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]], [0, 0, 1, 1]) == pytest.approx(0.8707137571, abs=1e-9)


def test_identical_maps_give_ln_5():
    assert _points([[0, 1, 0.5]] * 8, [0] * 4 + [1] * 4) == pytest.approx(math.log(5), abs=1e-9)


@pytest.mark.parametrize(("concepts", "size", "floor"), [(2, 4, 0.43265), (3, 5, 0.8558), (4, 6, 1.2343)])
def test_perfect_separation_gives_the_floor(concepts: int, size: int, floor: float):
    points = [
        [float(pixel == concept) for pixel in range(concepts)] for concept in range(concepts) for _ in range(size)
    ]
    groups = [concept for concept in range(concepts) for _ in range(size)]
    assert _points(points, groups) == pytest.approx(floor, abs=1e-4)


@given(st.permutations(range(6)), st.integers(0, 10_000))
def test_order_does_not_matter(order: list[int], seed: int):
    maps = torch.rand(6, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    groups = [0, 0, 1, 1, 2, 2]
    torch.testing.assert_close(
        info_nce(maps[order], [groups[place] for place in order], 0.5), info_nce(maps, groups, 0.5)
    )


@given(st.floats(0.01, 100.0), st.floats(-5.0, 5.0))
def test_scale_and_offset_of_a_map_do_not_matter(scale: float, offset: float):
    maps = torch.rand(4, 6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    groups = [0, 0, 1, 1]
    torch.testing.assert_close(
        info_nce(maps * scale + offset, groups, 0.5), info_nce(maps, groups, 0.5), atol=1e-5, rtol=0
    )


def test_gradient_agrees_with_finite_differences():
    maps = torch.rand(5, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    groups = [0, 0, 1, 1, 1]
    assert torch.autograd.gradcheck(lambda m: info_nce(m, groups, 0.5), (maps,), eps=1e-6, atol=1e-7)


def test_nothing_to_contrast_is_zero_and_differentiable():
    maps = torch.rand(3, 2, 2, requires_grad=True)
    groups = [0, 0, 0]
    loss = info_nce(maps, groups, 0.5) + absence(maps, groups)
    loss.backward()
    assert loss.item() == 0.0
    assert maps.grad.abs().sum() == 0.0
    assert separation(maps, groups) == 0.0


def test_a_map_alone_in_its_group_is_its_own_positive():
    groups = [0, 1, 2]
    assert _points(torch.eye(3).tolist(), [0, 1, 2]) == pytest.approx(math.log(1 + 2 * math.exp(-2)), abs=1e-6)
    apart, alike = torch.eye(3)[:, None, :], torch.rand(1, 1, 3).expand(3, 1, 3)
    assert separation(apart, groups) == pytest.approx(1.0)
    assert separation(alike, groups) == pytest.approx(0.0, abs=1e-6)


def _bumps(*heights: float) -> torch.Tensor:
    """One map per height, each with a wide bump in a corner of its own."""
    maps = torch.zeros(len(heights), 12, 12, dtype=torch.float64)
    for place, height in enumerate(heights):
        maps[place, place * 6 : place * 6 + 6, :6] = height
    return maps


def test_absence_tells_weak_and_swallowed_concepts_from_present_ones():
    groups = [0, 1]
    assert absence(_bumps(0.3, 0.3), groups).item() == pytest.approx(0.0, abs=1e-9)
    assert absence(_bumps(0.3, 0.06), groups).item() == pytest.approx(0.8)
    swallowed = torch.stack([_bumps(0.3)[0], 0.5 * _bumps(0.3)[0]])
    assert absence(swallowed, groups).item() == pytest.approx(1.0)  # it leads nowhere but where both are nothing
    shapes_alone = info_nce(_bumps(0.3, 0.3), groups, 0.5), info_nce(_bumps(0.3, 0.06), groups, 0.5)
    torch.testing.assert_close(*shapes_alone)


def test_an_update_against_absence_makes_the_weak_concept_stronger():
    maps = _bumps(0.3, 0.06).requires_grad_()
    absence(maps, [0, 1]).backward()
    assert maps.grad[1].min() < 0.0
    assert maps.grad[1].max() == 0.0


def test_a_constant_map_stays_finite():
    maps = torch.cat([torch.full((1, 4, 4), 0.3), torch.rand(3, 4, 4)]).requires_grad_()
    info_nce(maps, [0, 0, 1, 1], 0.5).backward()
    assert torch.isfinite(maps.grad).all()
    assert normalise(maps)[0].abs().max() == 0.0


def test_separation_is_one_for_disjoint_maps_and_zero_for_equal_ones():
    left, right = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    left[:, :, :2], right[:, :, 2:] = 1.0, 1.0
    groups = [0, 0, 1, 1]
    assert separation(torch.cat([left, right]), groups) == pytest.approx(1.0)
    assert separation(torch.cat([left, left]), groups) == pytest.approx(0.0, abs=1e-6)
