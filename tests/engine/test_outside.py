"""Subjects outside of the part of a picture that is drawn."""

import pytest
import torch

from clora_ext.batch.plan import Concept, TokenPlan
from clora_ext.core.schedule import SamplingPoint
from clora_ext.core.window import Window
from clora_ext.engine import outside
from clora_ext.engine.masks import ImageMasks
from clora_ext.engine.outside import concepts_outside, look_around
from clora_ext.engine.own_masks import NO_OWN_MASKS, OwnMask, OwnMasks
from clora_ext.settings.profiles import build_settings
from tests.engine.setup import POINT, random_loras, running, setup
from tests.toy import ToyHost

RIGHT = Window(0.0, 0.5, 1.0, 1.0)
PAINTED = torch.cat([torch.zeros(32, 24), torch.ones(32, 24)], dim=1)
"""The right half of a picture of 48 x 32 pixels."""
PLAN = TokenPlan((Concept("cat", ((0,), (0,), (0,))), Concept("dog", ((1,), (1,), (1,)))))


def maps(**places: tuple[int, int]) -> dict[int, torch.Tensor]:
    """Maps [column, 8, 8] of both words in every branch: a blot of 2x2 at a place, (row, column)."""
    found = torch.full((2, 8, 8), 0.05)
    for index, (row, column) in enumerate(places.values()):
        found[index, row : row + 2, column : column + 2] = 1.0
    return dict.fromkeys(range(3), found)


def test_a_window_is_cells_of_which_more_than_half_is_inside():
    cells = torch.arange(64).view(1, 8, 8)
    assert torch.equal(RIGHT.of(cells), cells[:, :, 4:])
    assert torch.equal(Window(0.05, 0.32, 0.7, 0.93).of(cells), cells[:, 0:6, 3:7])
    assert Window(0.99, 0.99, 1.0, 1.0).of(cells).flatten().tolist() == [63]


@pytest.mark.parametrize(
    ("cat", "dog", "outside"),
    [
        ((1, 1), (5, 5), {0}),
        ((1, 6), (5, 0), {1}),
        ((1, 5), (5, 5), set()),
        ((1, 1), (5, 1), set()),  # nobody is inside: what is asked for is new
        ((1, 3), (5, 5), set()),  # half of the cat is inside
    ],
)
def test_who_is_not_painted_is_outside(cat: tuple[int, int], dog: tuple[int, int], outside: set[int]):
    settings = build_settings("balanced", morphology=())
    assert concepts_outside(settings, PLAN, maps(cat=cat, dog=dog), PAINTED) == outside


def test_what_is_painted_counts_by_the_share_of_each_cell():
    settings, places = build_settings("balanced", morphology=()), maps(cat=(1, 1), dog=(5, 5))
    painted = torch.zeros(32, 32)
    painted[4:12, 4:12] = 0.09
    painted[20:28, 20:28] = 0.11
    assert concepts_outside(settings, PLAN, places, painted) == {0}


def test_who_is_outside_claims_no_pixel_and_nothing_is_updated():
    settings = build_settings("balanced", morphology=())
    image = ImageMasks(settings)
    image.outside = frozenset({0})
    image.read(PLAN, maps(cat=(1, 1), dog=(5, 5)))
    assert image.regions is not None
    assert not image.regions[1].any()
    assert float(image.regions[2].sum()) == 4
    assert torch.equal(image.regions.sum(dim=0), torch.ones(8, 8))
    assert image.state.outside


def test_a_look_around_is_over_before_the_first_step_and_keeps_its_updates_away():
    unet, conditions, latent = setup(2, (16, 16))
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    whole = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with running(host, build_settings("balanced"), 2) as (composition, denoiser):
        assert look_around(composition, POINT, whole, denoiser, torch.ones(16, 24)) == set()
        assert composition.before(POINT, latent, denoiser).latent is not latent
        composition.abandon()
        composition.masks[0].outside = frozenset({1})
        assert composition.before(SamplingPoint(1, 10, 0.9), latent, denoiser).latent is latent
        found = composition.predict(latent)
        composition.after(found)
        regions = composition.masks[0].regions
        assert regions is not None
        assert not regions[2].any()


def test_who_has_an_own_mask_is_not_looked_for(monkeypatch: pytest.MonkeyPatch):
    unet, conditions, _ = setup(2, (16, 16))
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    monkeypatch.setattr(outside, "concepts_outside", lambda *_: frozenset({0}))
    painted = OwnMasks((OwnMask("added", torch.ones(16, 16, dtype=torch.float64)), None))
    with running(host, build_settings("balanced"), 2) as (composition, denoiser):
        for own, found in ((NO_OWN_MASKS, {0}), (painted, set())):
            composition.masks[0].own = own
            assert look_around(composition, POINT, torch.randn(1, 4, 16, 16).double(), denoiser, PAINTED) == found
