"""What is worked out from region masks is kept, and follows them."""

import torch

from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import BranchLoras, Half, Row

LORAS = BranchLoras({0: ("style",), 1: ("A", "style"), 2: ("B", "style")}, uncond=0.5)
BLOCKS = (("A", 2), ("B", 1), ("style", 1))
ROUTED, ALONE = Row(0, 0, Half.UNCOND, routed=True), Row(0, 1)


def _halves(*, turned: bool) -> torch.Tensor:
    """Branch 1 draws one half of the picture and branch 2 the other."""
    masks = torch.zeros(3, 2, 2)
    masks[1, :, 0], masks[2, :, 1] = 1.0, 1.0
    return masks.flip(-1) if turned else masks


def test_a_lora_counts_where_its_branches_draw_and_all_over_rows_of_its_own():
    shares = RegionPyramid({0: _halves(turned=False)}, LORAS, (2, 2)).lora_shares(
        (ROUTED, ALONE), (2, 2), BLOCKS, torch.zeros(1)
    )
    assert shares[0].tolist() == [[0.5, 0.5, 0.0, 0.5], [0.0, 0.0, 0.5, 0.5]] * 2
    assert shares[1].tolist() == [[1.0, 1.0, 0.0, 1.0]] * 4


def test_a_layer_without_pixels_takes_the_mean_of_the_picture():
    regions = RegionPyramid({0: _halves(turned=False)}, LORAS, (2, 2))
    shares = regions.lora_shares((ROUTED, ALONE), None, BLOCKS, torch.zeros(1))
    assert shares.tolist() == [[0.25, 0.25, 0.25, 0.5], [1.0, 1.0, 0.0, 1.0]]


def test_new_masks_change_the_shares_that_layers_have_bound():
    regions = RegionPyramid({0: _halves(turned=False)}, LORAS, (4, 4))
    like, rows = torch.zeros(1, dtype=torch.float64), (ROUTED,)
    bound = {size: regions.lora_shares(rows, size, BLOCKS, like) for size in ((4, 4), (1, 1), None)}
    groups = regions.pixel_groups(rows, (4, 4), like)
    regions.renew({0: _halves(turned=True)})
    anew = RegionPyramid({0: _halves(turned=True)}, LORAS, (4, 4))
    for size, shares in bound.items():
        assert regions.lora_shares(rows, size, BLOCKS, like) is shares
        assert torch.equal(shares, anew.lora_shares(rows, size, BLOCKS, like))
    found = regions.pixel_groups(rows, (4, 4), like)
    assert groups is not None
    assert found is not None
    assert not torch.equal(found.index, groups.index)
    assert regions.version == 1
