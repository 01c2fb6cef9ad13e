"""The other world's judge: the first world's, byte for byte, with names for what is new."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from tiny_world.concepts import XL_CONCEPTS
from tiny_world.judge import WEIGHTS, Judge, verdict
from tiny_world.judge_more import HEAD, NEW, MoreJudge, drawn, smaller
from tiny_world.render import render
from tiny_world.scene import sample_scene
from tiny_world.xl_model import XL_WEIGHTS

JUDGE = "b89f963cb84fad5e7572b972838a71943d144885be9e31dbd26fdcd192d0a129"
"""The first world's judge; both worlds' figures hang on it."""


@pytest.fixture(scope="module")
def judge() -> MoreJudge:
    return MoreJudge.load_with_head(XL_WEIGHTS / HEAD)


def test_the_first_worlds_judge_is_what_it_was() -> None:
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == JUDGE


@pytest.mark.parametrize("name", list(XL_CONCEPTS))
def test_each_look_is_named_in_the_renderers_pictures(judge: MoreJudge, name: str) -> None:
    right = []
    for seed in range(12):
        rng = np.random.default_rng([seed, 5])
        pixels = render(sample_scene(rng, (0.4, 0.6), personal=[name], repeat=0.0), 192).pixels
        right.append(verdict(judge.find(pixels), [name]).right)
    assert sum(right) >= 10, right


def test_places_are_in_the_pictures_own_pixels(judge: MoreJudge) -> None:
    scene = sample_scene(np.random.default_rng(3), (1.0,), personal=["cometball"])
    (found,) = judge.find(render(scene, 192).pixels)
    (thing,) = scene.things
    assert abs(found.centre[0] - thing.x * 192) < 12
    assert abs(found.centre[1] - thing.y * 192) < 12


def test_what_is_not_new_is_called_as_the_old_judge_calls_it(judge: MoreJudge) -> None:
    old, same, asked = Judge.load(), 0, 0
    for item in drawn(60, 3):
        if any(who >= len(XL_CONCEPTS) - len(NEW) for who in item.identities):
            continue
        pixels = enlarged(item.pixels)
        ours = sorted((thing.name, thing.mixed) for thing in judge.find(pixels))
        theirs = sorted((thing.name, thing.mixed) for thing in old.find(smaller(pixels)))
        same, asked = same + (ours == theirs), asked + 1
    assert asked > 20
    assert same >= 0.95 * asked


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """The picture at one and a half times its size."""
    return np.asarray(Image.fromarray(pixels).resize((192, 192), Image.Resampling.LANCZOS))


def test_styles_are_told_apart_by_hue(judge: MoreJudge) -> None:
    for style in ("lineart", "blueink", None):
        pictures = [render(sample_scene(np.random.default_rng(i), style=style), 192).pixels for i in range(8)]
        assert sum(judge.style(picture) == style for picture in pictures) >= 7, style
