"""Perfect pictures: the renderer draws what a prompt asks for, and the judges count it as they count generated ones."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bench.quality import ceiling
from bench.quality.extractors import Extractors
from bench.quality.folder import tiny_world
from bench.quality.prompts import REPORTED, Prompt, Style, read
from tiny_world.render import render
from tiny_world.worlds import WORLDS, World

PLAIN = Prompt("a", "two", "a cat and a dog in the snow", {"t": "tigercat", "b": "browndog"})
STYLED = Prompt("b", "style_on_one", PLAIN.prompt, PLAIN.subjects, style=Style("lineart", "t"))


def test_every_reported_prompt_is_drawn_with_its_cast_and_place() -> None:
    rng = np.random.default_rng(1)
    for prompt in read(REPORTED).prompts:
        scene = ceiling.scene_of(prompt, rng)
        drawn = Counter(thing.concept or thing.kind for thing in scene.things)
        assert drawn == Counter(prompt.wanted)
        assert (scene.style is not None) == (prompt.split == "style_global")


def test_one_subject_alone_is_put_into_the_style() -> None:
    plain, styled = (ceiling.perfect(prompt, np.random.default_rng(3)) for prompt in (PLAIN, STYLED))
    scene = ceiling.scene_of(PLAIN, np.random.default_rng(3))
    where = render(scene).silhouettes[[thing.concept for thing in scene.things].index("tigercat")]
    changed = (plain != styled).any(axis=-1)
    assert changed[where].mean() > 0.5
    assert not changed[~where].any()


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_the_judges_find_a_perfect_picture_right_and_another_cast_wrong(world: World) -> None:
    judge, extractors = world.judge(world.weights), Extractors.load(tiny_world(world), "cpu")
    other = Prompt("c", "two", PLAIN.prompt, {"t": "tuxcat", "b": "browndog"})
    rng = np.random.default_rng(5)
    pixels = np.stack([ceiling.perfect(PLAIN, rng, world.size)] * 2)
    assert ceiling.verdicts(judge, extractors, [PLAIN, other], pixels) == [True, False]


@pytest.mark.parametrize("wanted", ["lineart", "blueink"])
def test_a_style_of_the_other_world_is_right_and_the_other_style_wrong(wanted: str) -> None:
    world = WORLDS["xl"]
    judge, extractors = world.judge(world.weights), Extractors.load(tiny_world(world), "cpu")
    asked = [replace(PLAIN, style=Style(f"{name}-xl")) for name in ("lineart", "blueink")]
    drawn = replace(PLAIN, style=Style(f"{wanted}-xl"))
    pixels = np.stack([ceiling.perfect(drawn, np.random.default_rng(5), world.size)] * 2)
    found = ceiling.verdicts(judge, extractors, asked, pixels)
    assert found == [prompt.style == drawn.style for prompt in asked]


def test_rates_are_by_split_and_by_what_wears_the_style() -> None:
    found = ceiling.rates([PLAIN, STYLED, STYLED], [True, True, False])
    assert found == {"splits": {"two": 1.0, "style_on_one": 0.5}, "styled": {"tigercat": 0.5}}


def test_a_prompt_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="“a” names no place"):
        ceiling.scene_of(Prompt("a", "two", "a cat", {"t": "tigercat"}), np.random.default_rng(1))
