"""Silhouettes, masks, styles and leakage regions on rendered scenes, whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.quality import regions
from bench.quality.prompts import Prompt, Style
from tiny_world.judge import Found
from tiny_world.render import Rendering, render
from tiny_world.scene import CLASSES, Scene, sample_scene

TWO = Prompt("a", "two", "", {"tux": "tuxcat", "brown": "browndog"})


class Truth:
    """An eye that sees what was rendered; things in ``styled`` are in line art."""

    def __init__(self, scene: Scene, made: Rendering, styled: tuple[int, ...] = ()) -> None:
        self.classes, self.lineart = (np.zeros(made.pixels.shape[:2], kind) for kind in (int, float))
        for place, (thing, silhouette) in enumerate(zip(scene.things, made.silhouettes, strict=True)):
            self.classes[silhouette] = CLASSES.index(thing.kind) + 1
            self.lineart[silhouette] = place in styled

    def outline(self, pictures: np.ndarray, ink: str) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([self.classes] * len(pictures)), np.stack([self.lineart] * len(pictures))


def _found(scene: Scene, made: Rendering) -> list[Found]:
    boxes = made.boxes.astype(float).tolist()
    return [
        Found(t.concept or t.kind, t.kind, t.concept is not None, False, 1.0, tuple(box),
              ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
        for t, box in zip(scene.things, boxes, strict=True)
    ]  # fmt: skip


def _scene(seed: int, personal: tuple[str, ...] = ("tuxcat", "browndog")) -> tuple[Scene, Rendering]:
    scene = sample_scene(np.random.default_rng(seed), (0, 1.0), personal=personal)
    return scene, render(scene)


def _outlined(scene: Scene, made: Rendering, styled: tuple[int, ...] = ()):
    found = _found(scene, made)
    (outlined,) = regions.silhouettes(Truth(scene, made, styled), made.pixels[None], [found])
    return found, outlined


@pytest.mark.parametrize("personal", [("tuxcat", "browndog"), ("tuxcat", "tigercat")])
def test_every_thing_gets_its_own_silhouette(personal: tuple[str, ...]):
    for seed in range(6):
        scene, made = _scene(seed, personal)
        _, outlined = _outlined(scene, made)
        for mask, truth in zip(outlined.things, made.silhouettes, strict=True):
            assert (mask & truth).sum() / (mask | truth).sum() > 0.9


def test_a_mask_that_is_the_silhouette_has_iou_one_and_a_swapped_one_none():
    scene, made = _scene(3)
    found, outlined = _outlined(scene, made)
    order = [next(i for i, t in enumerate(scene.things) if t.concept == name) for name in TWO.subjects.values()]
    shapes = torch.from_numpy(np.stack([outlined.things[i] for i in order])).float()
    weights = torch.cat([1 - shapes.amax(dim=0, keepdim=True), shapes])
    right = regions.mask_ious(weights, tuple(TWO.subjects), TWO, found, outlined)
    assert right == {"tux": 1.0, "brown": 1.0}
    swapped = regions.mask_ious(weights[[0, 2, 1]], tuple(TWO.subjects), TWO, found, outlined)
    assert max(swapped.values()) < 0.1
    assert list(regions.mask_ious(weights, tuple(TWO.subjects), TWO, found[:1], outlined)) != ["tux", "brown"]


def test_a_style_is_right_only_where_it_belongs():
    scene, made = _scene(4)
    cat = next(i for i, t in enumerate(scene.things) if t.concept == "tuxcat")
    asked = replace(TWO, style=Style("lineart", "tux"))
    for styled, right in (((cat,), True), ((1 - cat,), False), ((0, 1), False), ((), False)):
        found, outlined = _outlined(scene, made, styled)
        assert regions.style(asked, outlined, found, asked.wanted)["right"] is right
    found, outlined = _outlined(scene, made, (cat,))
    assert not regions.style(asked, outlined, found[:1], asked.wanted)["right"]
    everywhere = replace(TWO, style=Style("lineart"))
    assert not regions.style(everywhere, outlined, found, asked.wanted)["right"]
    assert regions.style(everywhere, replace(outlined, lineart=np.ones((128, 128))), found, asked.wanted)["right"]
    assert regions.style(TWO, outlined, found, asked.wanted) == {}


def test_without_an_eye_the_box_stands_for_the_subject():
    scene, made = _scene(5)
    found, outlined = _outlined(scene, made)
    box = regions.own_region(TWO, "tux", found, None, (128, 128))
    silhouette = regions.own_region(TWO, "tux", found, outlined, (128, 128))
    assert silhouette.any()
    assert not (silhouette & ~box).any()
    others = [thing for thing in found if thing.kind != "cat"]
    assert not regions.own_region(TWO, "tux", others, None, (128, 128)).any()
