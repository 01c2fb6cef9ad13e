"""The judge: its names on fresh pictures, its verdicts and its training targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tiny_world.concepts import CONCEPTS, Look
from tiny_world.judge import (
    CONCEPT_NAMES,
    IDENTITIES,
    STRIDE,
    WEIGHTS,
    Found,
    Judge,
    JudgeNet,
    Maps,
    decode,
    kind_of,
    overlap,
    to_pixels,
    verdict,
)
from tiny_world.judge_data import Example, example, is_foreign, mixed_look, targets
from tiny_world.judge_score import evaluate, match
from tiny_world.judge_train import loss
from tiny_world.render import render
from tiny_world.scene import CLASSES, Scene, Thing, sample_scene


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


@pytest.fixture(scope="module")
def fresh() -> list[Example]:
    rng = np.random.default_rng(987_654)
    return [example(rng) for _ in range(220)]


def found(name: str, x: float = 64.0, mixed: bool = False) -> Found:
    kind = kind_of(name)
    return Found(name, kind, name in CONCEPTS, mixed, 0.9, (x - 20, 40, x + 20, 80), (x, 60))


def test_names_of_fresh_pictures(judge: Judge, fresh: list[Example]) -> None:
    figures = evaluate(judge.net, fresh)
    assert figures["all"] >= 0.97  # three things in ten are hard negatives
    assert figures["plain_and_personal"] >= 0.99
    assert figures["pictures_exactly_right"] >= 0.94
    assert figures["style"] >= 0.99
    assert figures["mixed_flagged"] >= 0.85 and figures["plain_not_flagged"] >= 0.97


def test_each_concept_alone_and_beside_its_plain_double(judge: Judge) -> None:
    for name, concept in CONCEPTS.items():
        double = Thing(concept.kind, None, None, 0.73, 0.6, 0.42, True, 4, Look(body=concept.look.body))
        own = Thing(concept.kind, name, None, 0.27, 0.6, 0.42, False, 3)
        subjects = judge.find(render(Scene("grass", (own, double), None, 1)).pixels)
        by_place = sorted(subjects, key=lambda f: f.centre[0])
        assert [f.name for f in by_place] == [name, concept.kind]
        assert by_place[0].personal and not by_place[1].personal


def test_boxes_lie_on_the_things(judge: Judge) -> None:
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(25):
        picture = render(sample_scene(rng, (0.3, 0.7)))
        boxes = [f.box for f in judge.find(picture.pixels)]
        shares += [max((overlap(box, true) for box in boxes), default=0.0) for true in picture.boxes.tolist()]
    assert np.mean(shares) > 0.75


def test_a_bare_background_holds_nothing(judge: Judge) -> None:
    for number, background in enumerate(("grass", "beach", "snow", "night", "desert", "room")):
        assert judge.find(render(Scene(background, (), None, number)).pixels) == []


def test_array_and_image_and_odd_sizes(judge: Judge) -> None:
    pixels = render(Scene("snow", (Thing("dog", "browndog", None, 0.5, 0.6, 0.45, False, 1),), None, 2)).pixels
    from_array, from_image = judge.find(pixels), judge.find(Image.fromarray(pixels))
    assert from_array == from_image
    wide = np.concatenate([pixels, pixels[:, :70]], axis=1)
    assert "browndog" in [f.name for f in judge.find(wide)]
    assert to_pixels(wide).shape == (1, 3, 128, 208)
    with pytest.raises(ValueError, match="uint8"):
        to_pixels(pixels.astype(np.float32))


def test_line_art_is_told(judge: Judge) -> None:
    rng = np.random.default_rng(6)
    for _ in range(12):
        scene = sample_scene(rng)
        assert judge.lineart(render(scene).pixels) < 0.5 < judge.lineart(render(replace(scene, style="lineart")).pixels)


def test_weights_are_small_and_missing_ones_are_explained(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size < 900_000
    with pytest.raises(FileNotFoundError, match="judge_train"):
        Judge.load(tmp_path / "none.safetensors")


def test_saving_keeps_the_answers(judge: Judge, tmp_path: Path) -> None:
    judge.save(tmp_path / "judge.safetensors")
    again = Judge.load(tmp_path / "judge.safetensors")
    pixels = render(sample_scene(np.random.default_rng(7))).pixels
    assert again.find(pixels) == judge.find(pixels)


@pytest.mark.parametrize(
    ("names", "wanted", "statuses", "right", "lenient"),
    [
        (["tuxcat", "browndog"], ["tuxcat", "browndog"], ["present", "present"], True, True),
        (["browndog", "tuxcat", "house"], ["tuxcat", "browndog"], ["present", "present"], True, True),
        (["tuxcat"], ["tuxcat", "browndog"], ["present", "absent"], False, False),
        (["tuxcat", "tuxcat", "browndog"], ["tuxcat", "browndog"], ["duplicated", "present"], False, True),
        (["tuxcat", "cat", "browndog"], ["tuxcat", "browndog"], ["present", "present"], False, True),
        (["tuxcat", "dog"], ["tuxcat", "browndog"], ["present", "wrong identity"], False, True),
        (["tuxcat", "spotdog"], ["tuxcat", "browndog"], ["present", "wrong identity"], False, True),
        (["tuxcat", "dog*"], ["tuxcat", "browndog"], ["present", "mixed"], False, True),
        (["tuxcat", "dog", "dog*"], ["tuxcat", "browndog"], ["present", "mixed"], False, True),
        (["tuxcat", "tuxcat"], ["tuxcat", "tigercat"], ["present", "wrong identity"], False, True),
        (["tuxcat", "tigercat"], ["tigercat", "tuxcat"], ["present", "present"], True, True),
        (["cat", "cat"], ["cat", "cat"], ["present", "present"], True, True),
        (["cat"], ["cat", "cat"], ["present", "absent"], False, False),
        (["tuxcat", "dog"], ["cat", "dog"], ["wrong identity", "present"], False, True),
        (["cat*"], ["cat"], ["mixed"], False, True),
        ([], ["hatbunny"], ["absent"], False, False),
        (["ball"], [], [], True, True),
    ],
)
def test_verdicts(names: Sequence[str], wanted: list[str], statuses: list[str], right: bool, lenient: bool) -> None:
    subjects = [found(name.rstrip("*"), 20.0 * i, mixed=name.endswith("*")) for i, name in enumerate(names)]
    for order in (subjects, subjects[::-1]):
        given = verdict(order, wanted)
        assert list(given.subjects) == list(zip(wanted, statuses, strict=True))
        assert (given.right, given.lenient) == (right, lenient)


def test_verdict_names_further_subjects_and_refuses_unknown_ones() -> None:
    assert verdict([found("tuxcat"), found("cat"), found("house")], ["tuxcat"]).extra == ("cat",)
    with pytest.raises(ValueError, match="tuxcat"):
        verdict([], ["horse"])


def maps_of(scene_targets: dict[str, torch.Tensor]) -> Maps:
    """Maps of a net that has learned the targets perfectly."""

    def logits(p: torch.Tensor) -> torch.Tensor:
        return torch.logit(p.clamp(1e-4, 1 - 1e-4))

    t = scene_targets
    return Maps(logits(t["heat"]), logits(t["identity"]), t["box"], logits(t["style"]))


def test_targets_decode_to_the_truth_and_have_the_least_loss(fresh: list[Example]) -> None:
    wanted = targets(fresh)
    perfect = maps_of(wanted)
    for b, item in enumerate(fresh):
        subjects = decode(perfect.heat[b], perfect.identity[b], perfect.box[b])
        assert len(subjects) == len(item.kinds)
        for kind, who, centre, box in zip(item.kinds, item.identities, item.centres, item.boxes, strict=True):
            subject = match(subjects, centre)
            assert subject is not None and subject.kind == CLASSES[kind]
            assert subject.name == (CONCEPT_NAMES[who] if who >= 0 else CLASSES[kind])
            assert subject.mixed == (who == -2)
            assert np.abs(np.subtract(subject.box, box)).max() < 0.01
            assert np.abs(np.subtract(subject.centre, centre)).max() <= STRIDE / 2
    blank = Maps(torch.zeros_like(perfect.heat), torch.zeros_like(perfect.identity), perfect.box * 0, perfect.style * 0)
    assert float(loss(perfect, wanted)) < 0.2 * float(loss(blank, wanted))


def test_suppression_keeps_the_better_of_two_classes_in_one_place() -> None:
    heat = torch.full((len(CLASSES), 32, 32), -9.0)
    heat[0, 10, 10], heat[1, 10, 12] = 3.0, 2.0
    identity = torch.full((len(CONCEPT_NAMES) + 1, 32, 32), -9.0)
    box = torch.full((4, 32, 32), 26 / 32)
    assert [f.kind for f in decode(heat, identity, box)] == ["cat"]
    box[:] = 5 / 32
    assert [f.kind for f in decode(heat, identity, box)] == ["cat", "dog"]


def test_mixed_looks_are_no_concept_and_not_plain() -> None:
    rng = np.random.default_rng(8)
    for kind in CLASSES:
        for _ in range(60):
            look = mixed_look(kind, rng)
            assert is_foreign(kind, look) and look != Look(body=look.body)
    for concept in CONCEPTS.values():
        assert not is_foreign(concept.kind, concept.look)


def test_net_is_small_and_its_maps_have_the_stated_shapes() -> None:
    net = JudgeNet().eval()
    assert sum(p.numel() for p in net.parameters()) < 450_000
    maps = net(torch.rand(2, 3, 64, 96))
    assert maps.heat.shape == (2, 6, 8, 12) and maps.identity.shape == (2, 9, 8, 12)
    assert maps.box.shape == (2, 4, 8, 12) and maps.style.shape == (2,)
    assert len(IDENTITIES) == 14
