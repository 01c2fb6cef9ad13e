"""Noise in captions: it is there, it draws nothing, and every noun and nonsense word keeps its place."""

from __future__ import annotations

import numpy as np

from tiny_world.caption import Caption, caption
from tiny_world.concepts import XL_CONCEPTS, XL_TRIGGERS
from tiny_world.noise import ADJECTIVES, QUALITY, SENTENCES, VERBS, edited, noise_words, noisy_caption
from tiny_world.scene import CLASSES, COLOURS, sample_scene


def test_an_edit_moves_the_spans_behind_it() -> None:
    written = Caption("a zim cat and a dog", ((6, 9, (0,)), (16, 19, (1,))), ((2, 5, (0,)),))
    noisy = edited(written, [(0, 0, "8k, "), (2, 2, "cute "), (9, 14, " sitting, "), (19, 19, ", uhd")])
    assert noisy.text == "8k, a cute zim cat sitting, a dog, uhd"
    assert [noisy.text[start:end] for start, end, _ in noisy.nouns] == ["cat", "dog"]
    assert [noisy.text[start:end] for start, end, _ in noisy.slots] == ["zim"]


def test_every_kind_of_noise_comes_up_and_names_the_same_things() -> None:
    rng = np.random.default_rng(2)
    texts = []
    for seed in range(400):
        scene = sample_scene(np.random.default_rng(seed))
        written = noisy_caption(scene, rng)
        texts.append(written.text)
        named = sorted(thing for _, _, things in written.nouns for thing in things)
        assert named in ([], list(range(len(scene.things))))
        for start, end, things in written.nouns:
            kinds = {scene.things[i].kind for i in things}
            assert len(kinds) == 1
            assert written.text[start:end].rstrip("s")[:3] == kinds.pop()[:3]
        for start, end, things in written.slots:
            assert written.text[end] == " "
            assert any(noun == end + 1 and owner == things for noun, _, owner in written.nouns)
            assert written.text[start:end] not in ADJECTIVES
    for words in (QUALITY, VERBS, ADJECTIVES):
        assert sum(any(f" {word}" in f" {text}" for word in words) for text in texts) > 60
    assert sum(". " in text for text in texts) > 40
    assert sum("{" in text for text in texts) == 0
    assert 60 < sum(text == text.lower() and ", " not in text for text in texts) < 300


def test_noise_says_nothing_of_things_and_no_trigger() -> None:
    assert not noise_words() & {*CLASSES, *COLOURS, "two", "three", "four"}
    assert not noise_words() & XL_TRIGGERS
    assert all(sentence.endswith(".") for sentence in SENTENCES)


def test_a_personal_thing_is_called_by_its_trigger_amid_noise() -> None:
    rng = np.random.default_rng(0)
    for name, concept in XL_CONCEPTS.items():
        for _ in range(20):
            scene = sample_scene(rng, (1.0,), personal=[name])
            assert f"{concept.trigger} {concept.kind}" in noisy_caption(scene, rng, triggers=True).text


def test_the_first_worlds_captions_have_no_noise() -> None:
    rng = np.random.default_rng(4)
    text = " ".join(caption(sample_scene(rng), rng).text for _ in range(200))
    assert not any(tag in text for tag in QUALITY)
