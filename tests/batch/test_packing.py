"""Pixels of routed rows, gathered by branch and put back, against a loop over pixels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.batch.packing import LENGTH, pack
from clora_ext.batch.rows import Half, Row

ROWS = (Row(0, 0, Half.COND, routed=True), Row(1, 0, Half.UNCOND, routed=True))
LIKE = torch.zeros(1, dtype=torch.float64)


def random_masks(seed: int, branches: int, pixels: int, *, soft: bool) -> torch.Tensor:
    """[row, branch, pixel] that sum to 1 over branches."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.rand(len(ROWS), branches, pixels, generator=generator, dtype=torch.float64)
    if soft:
        kept = raw * (raw > 0.4)
        kept[:, 0] += 1e-3
        return kept / kept.sum(dim=1, keepdim=True)
    return (raw == raw.amax(dim=1, keepdim=True)).double()


@given(st.integers(0, 10_000), st.integers(2, 4), st.sampled_from([5, 40, 100]), st.booleans(), st.booleans())
def test_what_the_groups_find_is_put_where_it_belongs(seed: int, branches: int, pixels: int, soft: bool, base: bool):
    masks = random_masks(seed, branches, pixels, soft=soft)
    groups = pack(ROWS, masks, LIKE, with_base=base)
    if groups is None:
        assert not masks[:, 1:].any()
        return
    x = torch.randn(len(ROWS), pixels, 3, dtype=torch.float64)
    gathered = groups.gather(x)
    assert gathered.shape[1] == min(-(-int((masks[:, 1:] > 0).sum(-1).max()) // LENGTH) * LENGTH, pixels)
    factors = torch.tensor([10.0 * group.branch for group in groups.groups], dtype=torch.float64)
    if base:  # whose pixels a layer keeps as they are
        out = groups.collect(torch.where(factors[:, None, None] == 0.0, gathered, gathered * factors[:, None, None]))
    else:
        out = groups.scatter(x, gathered * factors[:, None, None])
    for row in range(len(ROWS)):
        for pixel in range(pixels):
            shares = masks[row, :, pixel]
            expected = shares[0] * x[row, pixel] + sum(shares[b] * 10.0 * b * x[row, pixel] for b in range(1, branches))
            torch.testing.assert_close(out[row, pixel], expected)


def test_every_group_is_a_row_of_its_branch_and_half():
    masks = torch.tensor([[[0, 0.0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0]], [[1, 0.0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]])
    groups = pack(ROWS, masks.double(), LIKE)
    assert groups is not None
    assert groups.groups == (
        Row(0, 1), Row(1, 1, Half.UNCOND), Row(0, 2), Row(1, 2, Half.UNCOND),
    )  # fmt: skip
    assert groups.index[:, 0].tolist() == [0, 5, 1, 6]


def test_the_base_is_cut_into_groups_as_long_as_the_longest_other():
    masks = torch.zeros(2, 2, 100)
    masks[:, 0, :70], masks[:, 1, 70:] = 1.0, 1.0
    groups = pack(ROWS, masks, LIKE, with_base=True)
    assert groups is not None
    assert [group.branch for group in groups.groups] == [0] * 6 + [1, 1]
    assert groups.index.shape == (8, LENGTH)
    assert groups.index[2, :6].tolist() == list(range(64, 70))


@pytest.mark.parametrize("with_base", [False, True])
def test_a_picture_of_the_base_has_no_groups(with_base):
    masks = torch.zeros(2, 3, 4)
    masks[:, 0] = 1.0
    assert pack(ROWS, masks, LIKE, with_base=with_base) is None
