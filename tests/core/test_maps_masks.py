"""Maps to masks to region masks to one prediction."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.core import masks
from clora_ext.core.maps import choose_level, grid_at, smoothed
from clora_ext.settings.knobs import MORPHOLOGY

SD1, SDXL = (1, 2, 4, 8), (2, 4)
"""Downsampling factors at which these models have cross-attention."""


@pytest.mark.parametrize(
    ("latent", "factors", "quarter", "factor"),
    [
        ((64, 64), SD1, False, 4), ((16, 16), SD1, False, 1), ((16, 16), SD1, True, 1), ((64, 64), SD1, True, 4),
        ((32, 32), SD1, True, 4), ((32, 32), SD1, False, 2), ((96, 48), SD1, False, 4), ((28, 64), SD1, True, 2),
        ((128, 128), SD1, False, 8), ((128, 128), SDXL, False, 4), ((64, 64), SDXL, False, 4),
        ((40, 64), SDXL, False, 2), ((16, 16), SDXL, False, 2), ((104, 152), SDXL, True, 4), ((16, 16), (4,), True, 4),
    ],
)  # fmt: skip
def test_the_level_of_the_maps_is_one_that_the_model_has(
    latent: tuple[int, int], factors: tuple[int, ...], quarter: bool, factor: int
):
    assert choose_level(latent, factors, quarter=quarter) == factor


def test_odd_sizes_round_up_at_every_halving():
    assert grid_at((67, 50), 4) == (17, 13)


def test_smoothing_keeps_the_sum_of_a_flat_map_and_blurs_a_point():
    flat = torch.ones(1, 5, 5)
    torch.testing.assert_close(smoothed(flat, 0.5), flat)
    point = torch.zeros(1, 5, 5)
    point[0, 2, 2] = 1.0
    blurred = smoothed(point, 0.5)
    assert 0.5 < blurred[0, 2, 2] < 1.0
    assert blurred.sum() == pytest.approx(1.0)
    assert smoothed(point, 0.0) is point


def test_a_mask_unites_the_tokens_each_at_its_own_threshold():
    maps = torch.tensor([[[1.0, 0.5, 0.1]], [[0.001, 0.002, 0.01]]])
    assert masks.concept_mask(maps, 0.4).tolist() == [[True, True, True]]
    assert masks.concept_mask(maps, 0.5).tolist() == [[True, False, True]]  # strictly above


def test_the_settings_name_every_operation():
    assert tuple(masks.OPERATIONS) == MORPHOLOGY


def test_morphology_runs_in_its_own_order_and_keeps_the_border():
    full = torch.ones(1, 5, 5, dtype=torch.bool)
    assert masks.apply_morphology(full, ["erode"]).all()
    point = torch.zeros(1, 5, 5, dtype=torch.bool)
    point[0, 2, 2] = True
    assert masks.apply_morphology(point, ["dilate"]).sum() == 9
    assert masks.apply_morphology(point, ["erode"]).sum() == 0
    assert masks.apply_morphology(point, ["erode", "dilate"]).sum() == 1  # dilated first, whatever the order asked for
    assert masks.apply_morphology(point, ["open"]).sum() == 0
    hole = full.clone()
    hole[0, 2, 2] = False
    assert masks.apply_morphology(hole, ["close"]).all()


@given(st.integers(0, 1000), st.sampled_from(["average", "strongest", "soft"]))
def test_region_masks_sum_to_one_and_the_base_takes_what_is_left(seed: int, overlap: str):
    generator = torch.Generator().manual_seed(seed)
    claimed = torch.rand(3, 6, 5, generator=generator) > 0.6
    weights = masks.region_masks(claimed, torch.rand(3, 6, 5, generator=generator), overlap)
    torch.testing.assert_close(weights.sum(0), torch.ones(6, 5))
    assert torch.equal(weights[0] == 1.0, ~claimed.any(0))
    assert not weights[1:][~claimed].any()


def test_overlaps():
    claimed = torch.tensor([[[True, True]], [[True, False]]])
    strengths = torch.tensor([[[0.9, 0.0]], [[0.4, 0.1]]])
    assert masks.region_masks(claimed, strengths, "average")[:, 0, 0].tolist() == [0.0, 0.5, 0.5]
    equal = torch.tensor([[[0.9, 0.0]], [[0.05, 0.1]]])
    assert masks.region_masks(claimed, equal, "strongest")[:, 0, 0].tolist() == [0.0, 1.0, 0.0]
    assert masks.region_masks(claimed, equal, "soft")[1, 0, 0] > 0.99


def test_enlarged_region_masks_still_sum_to_one():
    weights = masks.region_masks(torch.rand(2, 5, 3) > 0.5, torch.rand(2, 5, 3), "average")
    large = masks.resized(weights, (20, 13))
    assert large.shape == (3, 20, 13)
    torch.testing.assert_close(large.sum(0), torch.ones(20, 13))


def test_fusing_equal_predictions_changes_nothing_and_masks_choose():
    one = torch.randn(4, 6, 6)
    weights = masks.uniform_region_masks(3, one)
    torch.testing.assert_close(masks.fuse(one.expand(3, -1, -1, -1), weights), one)
    left = torch.zeros(2, 6, 6)
    left[0, :, :3], left[1, :, 3:] = 1.0, 1.0
    two = torch.stack([torch.zeros(4, 6, 6), torch.ones(4, 6, 6)])
    assert masks.fuse(two, left)[:, :, :3].sum() == 0
    assert (masks.fuse(two, left)[:, :, 3:] == 1).all()


def test_a_part_is_owned_by_who_draws_most_of_it():
    regions = torch.zeros(3, 4, 4)
    regions[1, :, :2] = regions[2, :3, 3] = 1.0
    regions[0] = 1.0 - regions[1:].sum(dim=0)

    def part(columns: slice) -> torch.Tensor:
        found = torch.zeros(16, 16)
        found[:, columns] = 1.0
        return found

    assert masks.owner(regions, part(slice(0, 10))) == 0
    assert masks.owner(regions, part(slice(9, 16))) == 1  # the base has more, but no other concept
    assert masks.owner(regions, part(slice(8, 12))) is None  # the base's
    assert masks.owner(regions, part(slice(4, 16))) is None  # both have much
    assert masks.owner(regions, torch.zeros(16, 16)) is None
