"""Captions: spans, words, order, nonsense words and triggers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tiny_world.caption import NUMBERS, PLACES, PLURALS, Caption, caption, known_words, nonsense_word
from tiny_world.concepts import CONCEPTS, TRIGGERS, XL_CONCEPTS, XL_STYLES, XL_TRIGGERS
from tiny_world.scene import CLASSES, COLOURS, Scene, sample_scene


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Scene, Caption]]:
    rng = np.random.default_rng(0)
    drawn = [sample_scene(rng) for _ in range(2500)]
    return [(scene, caption(scene, rng)) for scene in drawn]


def test_spans_are_the_nouns_of_their_things(pairs: list[tuple[Scene, Caption]]) -> None:
    for scene, written in pairs:
        named = []
        for start, end, things in written.nouns:
            noun = written.text[start:end]
            kinds = {scene.things[i].kind for i in things}
            assert len(kinds) == 1
            kind = kinds.pop()
            assert noun == (kind if len(things) == 1 else PLURALS[kind])
            named += things
        assert sorted(named) == list(range(len(scene.things)))
        nouns = re.findall(r"\b(?:" + "|".join([*CLASSES, *PLURALS.values()]) + r")\b", written.text)
        assert len(nouns) == len(written.nouns)


def test_colours_numbers_and_places_are_true(pairs: list[tuple[Scene, Caption]]) -> None:
    for scene, written in pairs:
        for start, _, things in written.nouns:
            before = re.split(r",| and | beside | next to | with ", written.text[:start])[-1].split()
            for colour in set(before) & set(COLOURS):
                assert all(scene.things[i].colour == colour for i in things)
            said = [word for word in before if word in NUMBERS.values()]
            assert said == ([NUMBERS[len(things)]] if len(things) > 1 else [])
        for background, place in PLACES.items():
            assert (place in written.text) <= (scene.background == background)


def test_rates(pairs: list[tuple[Scene, Caption]]) -> None:
    nouns = sum(len(written.nouns) for _, written in pairs)
    assert abs(sum(len(written.slots) for _, written in pairs) / nouns - 0.45) < 0.04
    single = [(s.things[t[0]], w.text[:a]) for s, w in pairs for a, _, t in w.nouns if len(t) == 1]
    said = [re.search(rf"\b{thing.colour}( \w+)? $", text) is not None for thing, text in single]
    assert abs(np.mean(said) - 0.4) < 0.04
    assert 0.7 < np.mean([PLACES[s.background] in w.text for s, w in pairs]) < 0.9
    ordered = []
    for scene, written in pairs:
        xs = [scene.things[t[0]].x for _, _, t in written.nouns]
        if len(xs) == 2 and len(scene.things) == 2:
            ordered.append(xs == sorted(xs))
    assert abs(np.mean(ordered) - (2 / 3 + 1 / 6)) < 0.05


def test_two_of_a_class_are_counted_or_named_apart(pairs: list[tuple[Scene, Caption]]) -> None:
    counted = sum(any(len(t) == 2 for _, _, t in w.nouns) for _, w in pairs)
    apart = sum(len(w.nouns) == 2 and s.things[0].kind == s.things[1].kind for s, w in pairs if len(s.things) == 2)
    assert counted > 100 and apart > 100


def test_nonsense_words_stand_right_before_their_noun_and_mean_nothing(pairs: list[tuple[Scene, Caption]]) -> None:
    starts = {}
    for _, written in pairs:
        starts = {start: things for start, _, things in written.nouns}
        for start, end, things in written.slots:
            word = written.text[start:end]
            assert word not in known_words() and word.isalpha() and word.islower()
            assert written.text[end] == " " and starts[end + 1] == things


def test_base_captions_never_hold_a_trigger() -> None:
    rng = np.random.default_rng(1)
    for _ in range(1500):
        scene = sample_scene(rng, personal=0.5)
        assert not set(re.findall(r"\w+", caption(scene, rng).text)) & XL_TRIGGERS
    words = {nonsense_word(rng) for _ in range(4000)}
    assert not words & XL_TRIGGERS and len(words) > 2000


def test_triggers_stand_before_their_concepts_noun() -> None:
    rng = np.random.default_rng(2)
    for name, concept in XL_CONCEPTS.items():
        for _ in range(10):
            scene = sample_scene(rng, personal=[name], style="lineart" if rng.random() < 0.5 else None)
            written = caption(scene, rng, triggers=True)
            place = next(i for i, thing in enumerate(scene.things) if thing.concept == name)
            start, end, _ = next(noun for noun in written.nouns if noun[2] == (place,))
            assert written.text[start:end] == concept.kind
            assert written.text[:start].endswith(f" {concept.trigger} ")
            assert written.text.endswith(", frizu style") == (scene.style == "lineart")


def test_triggers_differ_and_no_nonsense_without_fillers() -> None:
    assert len(TRIGGERS) == len(CONCEPTS) + 1
    assert TRIGGERS < XL_TRIGGERS
    assert len(XL_TRIGGERS) == len(XL_CONCEPTS) + len(XL_STYLES)
    rng = np.random.default_rng(3)
    for _ in range(200):
        text = caption(sample_scene(rng), rng, fillers=0.0, colours=0.0).text
        assert set(re.findall(r"\w+", text)) <= known_words() - set(COLOURS)


def test_articles_fit() -> None:
    rng = np.random.default_rng(4)
    for _ in range(500):
        text = caption(sample_scene(rng), rng).text
        assert not re.search(r"\ba [aeiou]", text) and not re.search(r"\ban [^aeiou]", text)
        assert "  " not in text and text == text.strip()
