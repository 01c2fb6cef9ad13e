"""The renderer: silhouettes, boxes, sampled scenes, and that concepts and style stand out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tiny_world.concepts import XL_CONCEPTS
from tiny_world.pen import TONES
from tiny_world.render import render
from tiny_world.scene import BACKGROUNDS, CLASSES, COLOURS, Scene, Thing, sample_scene


def scenes(count: int, seed: int = 0, **options: object) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, **options) for _ in range(count)]  # type: ignore[arg-type]


def alone(kind: str, concept: str | None, colour: str | None, seed: int = 5) -> Scene:
    return Scene("grass", (Thing(kind, concept, colour, 0.5, 0.6, 0.4, False, seed),), None, 3)


def grown(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight neighbours."""
    padded = np.pad(mask, 1)
    h, w = mask.shape
    return np.any([padded[i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=0)


def test_same_scene_gives_same_picture() -> None:
    for scene in scenes(5):
        first, second = render(scene), render(scene)
        assert np.array_equal(first.pixels, second.pixels)
        assert np.array_equal(first.silhouettes, second.silhouettes)
        assert first.pixels.shape == (128, 128, 3) and first.pixels.dtype == np.uint8


def test_silhouettes_are_the_pixels_that_a_thing_changes() -> None:
    for scene in scenes(25, seed=1):
        whole = render(scene)
        for index in range(len(scene.things)):
            rest = replace(scene, things=scene.things[:index] + scene.things[index + 1 :])
            changed = np.abs(whole.pixels.astype(int) - render(rest).pixels).max(axis=2)
            silhouette = whole.silhouettes[index]
            assert not (changed > 2)[~grown(silhouette)].any()
            assert (changed > 2)[silhouette].mean() > 0.9


def test_silhouettes_are_disjoint_and_boxes_tight() -> None:
    for scene in scenes(40, seed=2):
        picture = render(scene)
        assert picture.silhouettes.sum(axis=0).max() <= 1
        for silhouette, (left, top, right, bottom) in zip(picture.silhouettes, picture.boxes, strict=True):
            inside = silhouette[top:bottom, left:right]
            assert inside.sum() == silhouette.sum() > 300
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_a_later_thing_covers_an_earlier_one() -> None:
    cat = Thing("cat", None, "red", 0.5, 0.5, 0.4, False, 1)
    ball = Thing("ball", None, "blue", 0.55, 0.5, 0.4, False, 2)
    one = render(Scene("grass", (cat,), None, 0)).silhouettes[0]
    both = render(Scene("grass", (cat, ball), None, 0)).silhouettes
    assert np.array_equal(both[0], one & ~both[1])
    assert 0 < both[0].sum() < one.sum()


def test_base_scenes_hold_no_concept_and_no_style() -> None:
    sampled = scenes(2000, seed=3)
    assert all(s.style is None and all(t.concept is None and t.look is None for t in s.things) for s in sampled)
    assert {s.background for s in sampled} == set(BACKGROUNDS)
    assert {t.kind for s in sampled for t in s.things} == set(CLASSES)
    assert {t.colour for s in sampled for t in s.things} == set(COLOURS)
    counts = Counter(len(s.things) for s in sampled)
    for number, share in ((1, 0.15), (2, 0.5), (3, 0.22), (4, 0.13)):
        assert abs(counts[number] / 2000 - share) < 0.04
    most = Counter(max(Counter(t.kind for t in s.things).values()) for s in sampled)
    assert most[2] > 300 and most[3] > 10


def test_things_are_large_inside_and_overlap_little() -> None:
    for scene in scenes(60, seed=4, counts=(0.1, 0.2, 0.3, 0.4)):
        picture = render(scene)
        for index, thing in enumerate(scene.things):
            assert thing.size * 128 >= 34
            assert thing.size / 2 < thing.x < 1 - thing.size / 2 and thing.size / 2 < thing.y < 1 - thing.size / 2
            full = render(replace(scene, things=(thing,))).silhouettes[0].sum()
            assert picture.silhouettes[index].sum() / full > 0.5


def test_wanted_concepts_are_in_the_scene_once() -> None:
    for scene in scenes(100, seed=5, personal=["tuxcat", "browndog"]):
        names = Counter(t.concept for t in scene.things)
        assert names["tuxcat"] == 1 and names["browndog"] == 1 and set(names) <= {"tuxcat", "browndog", None}
    shares = [t.concept is not None for s in scenes(300, seed=6, personal=0.4) for t in s.things]
    assert abs(np.mean(shares) - 0.4) < 0.07


@pytest.mark.parametrize("name", list(XL_CONCEPTS))
def test_a_concept_differs_from_every_generic_thing_at_latent_scale(name: str) -> None:
    def coarse(scene: Scene) -> np.ndarray:
        pixels = render(scene).pixels.astype(np.float64)
        return pixels.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))

    kind = XL_CONCEPTS[name].kind
    own = coarse(alone(kind, name, None))
    where = render(alone(kind, name, None)).silhouettes[0].reshape(32, 4, 32, 4).mean(axis=(1, 3)) > 0.5
    same = np.abs(own - coarse(alone(kind, name, None, seed=6)))[where].mean()
    others = [np.abs(own - coarse(alone(kind, None, colour)))[where].mean() for colour in COLOURS]
    others += [
        np.abs(own - coarse(alone(kind, other.name, None)))[where].mean()
        for other in XL_CONCEPTS.values()
        if other.kind == kind and other.name != name
    ]
    assert min(others) > 22
    assert same < 0.6 * min(others)


@pytest.mark.parametrize("style", list(TONES))
def test_line_art_has_three_tones_and_keeps_the_silhouettes(style: str) -> None:
    tones = np.array(TONES[style])
    assert list(np.argsort(tones.mean(axis=1))) == [2, 1, 0]
    for scene in scenes(10, seed=7):
        plain, drawn = render(scene), render(replace(scene, style=style))
        pixels = drawn.pixels.reshape(-1, 3).astype(int)
        near = np.abs(pixels[:, None] - tones[None]).max(axis=2).min(axis=1) < 12
        assert near.mean() > 0.75
        both = (plain.silhouettes & drawn.silhouettes).sum() / (plain.silhouettes | drawn.silhouettes).sum()
        assert both > 0.85


def test_errors_say_what_to_choose() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="tuxcat"):
        sample_scene(rng, personal=["tuxedo"])
    with pytest.raises(ValueError, match="lineart"):
        sample_scene(rng, style="oil")
    with pytest.raises(ValueError, match="grass"):
        sample_scene(rng, background="moon")
    with pytest.raises(ValueError, match="colour"):
        render(alone("cat", None, None))
    with pytest.raises(ValueError, match="CLASSES"):
        render(alone("horse", None, "red"))
