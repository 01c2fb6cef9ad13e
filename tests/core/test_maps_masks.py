"""Maps to masks to weights to one prediction."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.core import fusion, masks
from clora_ext.core.concepts import Concept, Plan
from clora_ext.core.maps import grouped, level, shape, smoothed
from clora_ext.errors import BindingError

PLAN = Plan((Concept("cat", ((2,), (3,), (2,)), trigger=(2,)), Concept("fluffy dog", ((5, 6), (6, 7), (7, 8)), (5, 6))))


def test_the_words_of_each_branch():
    assert PLAN.words(0) == ((0, (2,)), (1, (5, 6)))
    assert PLAN.words(1) == ((0, (2,)), (0, (3,)), (1, (6, 7)))
    assert PLAN.words(2) == ((0, (2,)), (1, (5, 6)), (1, (7, 8)))
    assert PLAN.columns(2) == (2, 5, 6, 7, 8)


def test_own_tokens_with_and_without_the_trigger():
    assert PLAN.own(0, trigger=True) == (0, 1)
    assert PLAN.own(0, trigger=False) == (1,)
    assert PLAN.own(1, trigger=True) == (1, 2, 3, 4)
    assert PLAN.own(1, trigger=False) == (3, 4)


def test_a_subject_without_tokens_is_refused():
    with pytest.raises(BindingError, match="cat"):
        Concept("cat", ((2,), ()))


@pytest.mark.parametrize(("each", "counts"), [(True, [4, 8]), (False, [4, 4])])
def test_a_word_of_many_tokens_weighs_as_one_unless_each(each: bool, counts: list[int]):
    recorded = [torch.rand(len(PLAN.columns(b)), 4, 4) for b in range(3)]
    maps, groups = grouped(dict(enumerate(recorded)), PLAN, each=each)
    assert [int((groups == k).sum()) for k in (0, 1)] == counts
    if not each:
        torch.testing.assert_close(maps[1], recorded[0][1:3].mean(0))


@pytest.mark.parametrize("k", [1, 3, 8])
def test_k_concepts_of_one_token_make_k_times_k_plus_2_maps(k: int):
    plan = Plan(tuple(Concept(str(i), tuple((i + 1,) for _ in range(k + 1)), (i + 20,)) for i in range(k)))
    maps, groups = grouped({b: torch.rand(len(plan.columns(b)), 2, 2) for b in range(k + 1)}, plan, each=True)
    assert len(maps) == k * (k + 2)
    assert torch.equal(torch.bincount(groups), torch.full((k,), k + 2))


@pytest.mark.parametrize(
    ("latent", "quarter", "factor"),
    [
        ((64, 64), False, 4), ((16, 16), False, 1), ((16, 16), True, 1), ((64, 64), True, 4), ((32, 32), True, 4),
        ((32, 32), False, 2), ((96, 48), False, 4), ((28, 64), True, 2), ((128, 128), False, 8),
    ],
)  # fmt: skip
def test_the_level_of_the_maps(latent: tuple[int, int], quarter: bool, factor: int):
    assert level(latent, quarter=quarter) == factor


def test_odd_sizes_round_up_at_every_halving():
    assert shape((67, 50), 4) == (17, 13)


def test_smoothing_keeps_the_sum_of_a_flat_map_and_blurs_a_point():
    flat = torch.ones(1, 5, 5)
    torch.testing.assert_close(smoothed(flat, 0.5), flat)
    point = torch.zeros(1, 5, 5)
    point[0, 2, 2] = 1.0
    blurred = smoothed(point, 0.5)
    assert 0.5 < blurred[0, 2, 2] < 1.0
    assert blurred.sum() == pytest.approx(1.0)
    assert smoothed(point, 0.0) is point


def test_a_region_unites_the_tokens_each_at_its_own_threshold():
    maps = torch.tensor([[[1.0, 0.5, 0.1]], [[0.001, 0.002, 0.01]]])
    assert masks.region(maps, 0.4).tolist() == [[True, True, True]]
    assert masks.region(maps, 0.5).tolist() == [[True, False, True]]  # strictly above


def test_morphology_runs_in_its_own_order_and_keeps_the_border():
    full = torch.ones(1, 5, 5, dtype=torch.bool)
    assert masks.morphed(full, ["erode"]).all()
    point = torch.zeros(1, 5, 5, dtype=torch.bool)
    point[0, 2, 2] = True
    assert masks.morphed(point, ["dilate"]).sum() == 9
    assert masks.morphed(point, ["erode"]).sum() == 0
    assert masks.morphed(point, ["erode", "dilate"]).sum() == 1  # dilated first, whatever the order asked for
    assert masks.morphed(point, ["open"]).sum() == 0
    hole = full.clone()
    hole[0, 2, 2] = False
    assert masks.morphed(hole, ["close"]).all()


@given(st.integers(0, 1000), st.sampled_from(["average", "strongest", "soft"]))
def test_weights_sum_to_one_and_the_base_takes_what_is_left(seed: int, overlap: str):
    generator = torch.Generator().manual_seed(seed)
    claimed = torch.rand(3, 6, 5, generator=generator) > 0.6
    weights = masks.shares(claimed, torch.rand(3, 6, 5, generator=generator), overlap)
    torch.testing.assert_close(weights.sum(0), torch.ones(6, 5))
    assert torch.equal(weights[0] == 1.0, ~claimed.any(0))
    assert not weights[1:][~claimed].any()


def test_overlaps():
    claimed = torch.tensor([[[True, True]], [[True, False]]])
    strengths = torch.tensor([[[0.9, 0.0]], [[0.4, 0.1]]])
    assert masks.shares(claimed, strengths, "average")[:, 0, 0].tolist() == [0.0, 0.5, 0.5]
    equal = torch.tensor([[[0.9, 0.0]], [[0.05, 0.1]]])
    assert masks.shares(claimed, equal, "strongest")[:, 0, 0].tolist() == [0.0, 1.0, 0.0]
    assert masks.shares(claimed, equal, "soft")[1, 0, 0] > 0.99


def test_enlarged_weights_still_sum_to_one():
    weights = masks.shares(torch.rand(2, 5, 3) > 0.5, torch.rand(2, 5, 3), "average")
    large = masks.resized(weights, (20, 13))
    assert large.shape == (3, 20, 13)
    torch.testing.assert_close(large.sum(0), torch.ones(20, 13))


def test_fusing_equal_predictions_changes_nothing_and_masks_choose():
    one = torch.randn(4, 6, 6)
    weights = fusion.uniform(3, one)
    torch.testing.assert_close(fusion.fuse(one.expand(3, -1, -1, -1), weights), one)
    left = torch.zeros(2, 6, 6)
    left[0, :, :3], left[1, :, 3:] = 1.0, 1.0
    two = torch.stack([torch.zeros(4, 6, 6), torch.ones(4, 6, 6)])
    assert fusion.fuse(two, left)[:, :, :3].sum() == 0
    assert (fusion.fuse(two, left)[:, :, 3:] == 1).all()
