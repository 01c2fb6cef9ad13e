"""Somebody's own masks: against a slow reading of what their ways say, and in steps of the engine."""

from itertools import product

import pytest
import torch
from torch import Tensor

from clora_ext.core import masks
from clora_ext.core.window import Window
from clora_ext.engine.estimate import estimate
from clora_ext.engine.masks import ImageMasks
from clora_ext.engine.own_masks import OwnMask, OwnMasks
from clora_ext.engine.prepare import prepare
from clora_ext.prompt import MASK_WAYS, read_bindings
from clora_ext.settings.profiles import build_settings
from tests.engine.setup import POINT, bindings_of, predicted, prompt_of, random_loras, running, setup, take_step
from tests.engine.test_outside import PLAN, maps
from tests.toy import ToyHost

SIZE = (16, 16)
LEFT = torch.cat([torch.ones(16, 8), torch.zeros(16, 8)], dim=1)
RIGHT = 1.0 - LEFT


def slow_pixel(ways: list[str | None], own: list[float], claimed: list[bool], strengths: list[float]) -> list[float]:
    """The shares of one pixel, base first, as the module says them; the strongest has what is left."""
    fixed = [share if way == "fixed" else 0.0 for way, share in zip(ways, own, strict=True)]
    total = max(1.0, sum(fixed))
    shares = [share / total for share in fixed]
    painted = [way == "added" and share >= 0.5 for way, share in zip(ways, own, strict=True)]
    claims = []
    for concept, way in enumerate(ways):
        wanted = claimed[concept] and way != "fixed" and not any(painted)
        if way == "limited":
            wanted = wanted and own[concept] >= 0.5
        claims.append(wanted or painted[concept])
    left = 1.0 - sum(shares)
    owner = max((c for c in range(len(ways)) if claims[c]), key=lambda c: strengths[c], default=None)
    if owner is not None:
        shares[owner] += left
    return [left if owner is None else 0.0, *shares]


@pytest.mark.parametrize("ways", list(product([None, *MASK_WAYS], repeat=3)))
def test_every_pixel_is_shared_as_the_ways_say(ways: tuple[str | None, ...]):
    generator = torch.Generator().manual_seed(3)
    pictures = torch.rand(3, 6, 5, generator=generator).round(decimals=1)
    claimed = torch.rand(3, 6, 5, generator=generator) > 0.5
    strengths = torch.rand(3, 6, 5, generator=generator)
    strengths[:, 0] = torch.eye(3, 5)  # every map has its least and its most, so that they compare as they are
    own = OwnMasks(tuple(way and OwnMask(way, pictures[c]) for c, way in enumerate(ways)))
    found = own.regions(claimed, strengths, "strongest")
    torch.testing.assert_close(found.sum(dim=0), torch.ones(6, 5))
    for y, x in product(range(1, 6), range(5)):
        pixel = [each[:, y, x].tolist() for each in (pictures, claimed, strengths)]
        expected = slow_pixel(list(ways), *pixel)
        assert found[:, y, x].tolist() == pytest.approx(expected, abs=1e-5), (y, x)


def test_white_masks_that_overlap_share_equally_and_grey_leaves_the_rest():
    one, other = torch.tensor([[1.0, 1.0, 0.25, 0.0]]), torch.tensor([[1.0, 0.5, 0.25, 0.0]])
    found = OwnMasks((OwnMask("fixed", one), OwnMask("fixed", other))).fixed_regions()
    expected = torch.tensor([[0.0, 0.0, 0.5, 1.0], [1 / 2, 2 / 3, 0.25, 0.0], [1 / 2, 1 / 3, 0.25, 0.0]])
    torch.testing.assert_close(found[:, 0], expected)


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (6, 5), (16, 32)])
def test_a_picture_is_made_smaller_by_the_mean_and_larger_by_the_nearest(size: tuple[int, int]):
    picture = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = masks.on_grid(picture, size)
    for y, x in product(range(size[0]), range(size[1])):
        top, bottom = y * 8 // size[0], -(-(y + 1) * 8 // size[0])
        left, right = x * 8 // size[1], -(-(x + 1) * 8 // size[1])
        assert found[0, y, x] == pytest.approx(float(picture[0, top:bottom, left:right].mean()), abs=1e-6)


def test_a_window_shows_its_part_of_every_mask():
    own = OwnMasks((OwnMask("fixed", LEFT), None))
    part = own.on((4, 4), Window(0.0, 0.25, 1.0, 0.75))
    assert part.masks[1] is None
    assert part.masks[0] is not None
    assert part.masks[0].picture.tolist() == [[1.0, 1.0, 0.0, 0.0]] * 4


def test_masks_that_are_all_fixed_are_locked_from_the_start():
    settings = build_settings("balanced")
    image = ImageMasks(settings, own=OwnMasks((OwnMask("fixed", LEFT), OwnMask("fixed", RIGHT))))
    assert image.locked
    assert torch.equal(image.regions, torch.stack([torch.zeros(16, 16), LEFT, RIGHT]))
    assert not ImageMasks(settings, own=OwnMasks((OwnMask("fixed", LEFT), None))).locked
    assert not ImageMasks(settings, own=OwnMasks((OwnMask("fixed", LEFT), OwnMask("added", RIGHT)))).locked
    given = torch.full((3, 4, 4), 1 / 3)
    assert ImageMasks(settings, given, OwnMasks((OwnMask("added", LEFT), None))).regions is given


def read(own: OwnMasks) -> Tensor:
    """The regions of a cat at (1, 1) and a dog at (5, 5) of 8x8 maps, on the latent's 16x16."""
    image = ImageMasks(build_settings("balanced", morphology=()), own=own)
    image.read(PLAN, maps(cat=(1, 1), dog=(5, 5)))
    assert image.regions is not None
    assert torch.equal(image.regions.sum(dim=0), torch.ones(16, 16))
    return image.regions


def test_limited_never_claims_outside_and_added_always_claims_inside():
    base, cat, dog = read(OwnMasks((OwnMask("limited", RIGHT), OwnMask("added", LEFT))))
    assert not cat.any(), "the cat that attention sees is on the left"
    assert bool((dog[:, :8] == 1.0).all())
    assert float(dog[:, 8:].sum()) == 16, "attention's own dog stays"
    assert float(base.sum()) == 8 * 16 - 16
    _, cat, _ = read(OwnMasks((OwnMask("limited", LEFT), None)))
    assert float(cat.sum()) == 16


def test_a_fixed_mask_beside_attention_takes_its_pixels_first():
    base, cat, dog = read(OwnMasks((OwnMask("fixed", RIGHT), None)))
    assert torch.equal(cat, RIGHT)
    assert not dog.any(), "attention's dog is on the right"
    assert torch.equal(base, LEFT)


@pytest.mark.parametrize("profile", ["balanced", "fast", "authors"])
def test_fixed_masks_draw_as_the_same_masks_given_from_the_start(profile: str):
    unet, conditions, latent = setup(2, SIZE)
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    settings = build_settings(profile)
    own = OwnMasks((OwnMask("fixed", LEFT.double()), OwnMask("fixed", RIGHT.double())))
    given = torch.stack([torch.zeros(16, 16), LEFT, RIGHT]).double()
    one = take_step(host, settings, latent, 2, own=own)
    other = take_step(host, settings, latent, 2, masks=[given])
    assert torch.equal(one.fused.cond, other.fused.cond)
    assert torch.equal(one.fused.uncond, other.fused.uncond)
    assert one.composition.report.steps[0].locked == 1
    assert one.composition.report.maps == []
    assert bool(one.composition.report.steps[0].losses) == (profile != "balanced")


def test_masks_that_were_found_and_are_sent_back_fixed_draw_the_same():
    unet, conditions, latent = setup(2, SIZE)
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    settings = build_settings("balanced", method="masks")
    found = take_step(host, settings, latent, 2).composition.found_masks
    sent = [(255 * share).round() / 255 for share in found[0][1:]]
    back = OwnMasks(tuple(OwnMask("fixed", share) for share in sent)).on(SIZE)
    torch.testing.assert_close(back.fixed_regions(), found[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("way", MASK_WAYS)
def test_a_step_reads_attention_together_with_own_masks(way: str):
    unet, conditions, latent = setup(2, SIZE)
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    own = OwnMasks((OwnMask(way, LEFT), None))
    stepped = take_step(host, build_settings("balanced"), latent, 2, own=own)
    (regions,) = stepped.composition.report.region_masks
    assert regions.shape == (3, *SIZE)
    assert not (way == "limited" and regions[1][RIGHT > 0].any())
    assert way == "limited" or bool((regions[1][LEFT > 0] == 1.0).all())
    assert way == "added" or not regions[1][RIGHT > 0].any()


def test_one_lora_with_a_mask_is_composed_within_it():
    unet, conditions, latent = setup(1, SIZE)
    host = ToyHost(unet, random_loras(unet, 1), conditions)
    said = [{**bindings_of(1)[0], "mask": "aGk="}]
    assert prepare([prompt_of(1)], read_bindings(said), build_settings(), host).composes
    assert not prepare([prompt_of(1)], read_bindings(bindings_of(1)), build_settings(), host).composes
    own = OwnMasks((OwnMask("fixed", LEFT.double()),))
    with running(host, build_settings(), 1, bindings=said, own=own) as (composition, denoiser):
        move = composition.before(POINT, latent, denoiser)
        rows = composition.open_step().rows
        with torch.no_grad():
            composition.after(predicted(denoiser, rows, move.predict_from))
    assert torch.equal(composition.found_masks[0][1].double(), LEFT.double())


def test_the_estimate_of_fixed_masks_has_no_updates_and_one_row_for_each_half():
    counted = estimate(build_settings("balanced"), [0, 1, 2], 20, fixed=True)
    assert (counted.rows, counted.gradient_rows, counted.ratio) == (40, 0, 1.0)
    assert estimate(build_settings("balanced"), [0, 1, 2], 20).ratio > 1.5
