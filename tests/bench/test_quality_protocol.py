"""The paper's measures on vectors whose cosines are known, and the encoder that stands for DINO and CLIP."""

import numpy as np
import pytest
import torch

from bench.quality import protocol
from bench.quality.encoding import pack, unpack
from bench.quality.eye import Eye, EyeNet
from bench.quality.eye_train import contrast, examples, train
from bench.quality.methods import WEIGHT
from bench.quality.prompts import REPORTED, Sampling, read
from clora_ext.hosts.diffusers.library import Library
from tiny_world.model import WEIGHTS
from tiny_world.render import render
from tiny_world.scene import CLASSES, sample_scene


def _line(lora: str, angle: float) -> dict:
    vector = pack(torch.tensor([np.cos(angle), np.sin(angle)]))
    return {"prompt": f"reference {lora} words", "dino": vector, "crops": {lora: {"dino": vector}}}


def test_min_avg_and_max_over_the_loras_of_mean_cosines():
    known = protocol.references([_line("a", 0.0), _line("a", np.pi / 2), _line("b", np.pi)])
    own = {
        "dino": pack(torch.tensor([1.0, 0.0])),
        "crops": {"a": {"dino": pack(torch.tensor([0.0, 1.0]))}},
        "clip_t": 0.3,
    }
    found = protocol.similarities(own, ("a", "b"), known)
    assert found["dino_max"] == pytest.approx(0.5, abs=1e-3)
    assert found["dino_min"] == pytest.approx(-1.0, abs=1e-3)
    assert found["dino_avg"] == pytest.approx(-0.25, abs=1e-3)
    assert found["dino_crop_max"] == pytest.approx(0.5, abs=1e-3)
    assert found["dino_crop_min"] == 0.0  # of b there was no crop
    assert found["clip_t"] == 0.3
    assert "clip_min" not in found


def test_strength_is_a_share_of_how_alike_the_references_are():
    known = protocol.references([_line("a", 0.0), _line("a", np.pi / 3), _line("b", 0.0), _line("b", 0.0)])
    crops = {"a": {"dino": pack(torch.tensor([1.0, 0.0]))}, "b": {"dino": pack(torch.tensor([0.0, 1.0]))}}
    assert protocol.strength({"crops": crops}, ("a",), known) == pytest.approx(0.75 / 0.5, abs=2e-3)
    assert protocol.strength({"crops": crops}, ("a", "b"), known) == pytest.approx(0.75, abs=2e-3)
    assert protocol.strength({"crops": {"a": crops["a"]}}, ("a", "b"), known) == pytest.approx(1.5, abs=4e-3)
    assert protocol.strength({"crops": {}}, ("a",), known) is None
    assert protocol.strength({"crops": crops}, ("a",), protocol.references([_line("a", 0.0)])) is None


def test_references_are_one_per_lora_and_wording():
    jobs = protocol.reference_jobs(
        Library(WEIGHTS / "lora", WEIGHTS / "lora-b"), read(REPORTED).prompts, 5, WEIGHT, Sampling()
    )
    texts = [job.prompt.prompt for job in jobs]
    assert len(set(texts)) == len(texts)
    assert "a vako cat <lora:tuxcat-b:1>" in texts
    assert "a vako black cat <lora:tuxcat-b:1>" in texts
    assert {name for job in jobs for name in job.prompt.subjects} == {
        n for p in read(REPORTED).prompts for n in p.subjects
    }


def test_a_crop_is_a_square_around_its_box():
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[40:60, 100:128] = 255
    crop = protocol.square(picture, (100, 40, 128, 60))
    assert crop.shape[0] == crop.shape[1]
    assert 28 <= crop.shape[0] <= 34
    assert crop.mean() > 120


def test_vectors_survive_packing():
    vector = torch.randn(64)
    assert np.abs(unpack(pack(vector)) - vector.numpy()).max() < 2e-3


def test_contrast_is_least_where_pairs_agree():
    rows = torch.nn.functional.normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(1)))
    assert contrast(rows, rows, 10.0) < contrast(rows, rows.roll(1, dims=0), 10.0)


def test_training_examples_are_two_pictures_of_one_cast():
    data = examples(6, seed=3)
    assert data.pixels.shape == (2, 6, 128, 128, 3)
    for cast in range(6):
        kinds = [set(np.unique(side[cast])) - {0} for side in data.classes]
        assert kinds[0] == kinds[1]
    assert data.lineart.dtype == bool


@pytest.mark.parametrize("ink", ["lineart", "blueink"])
def test_the_eye_sees_both_inks_of_the_larger_world_and_tells_them_apart(ink: str):
    eye, rng = Eye.load(size=192), np.random.default_rng(2)
    scenes = [sample_scene(rng, (0, 1.0), style=style) for style in (ink, None) for _ in range(4)]
    pixels = np.stack([render(scene, 192).pixels for scene in scenes])
    for name in ("lineart", "blueink"):
        _, drawn = eye.outline(pixels, name)
        said = list(drawn.mean(axis=(1, 2)) > 0.5)
        assert said == [name == ink] * 4 + [False] * 4


def test_the_eye_outlines_the_larger_worlds_things():
    eye, scene = Eye.load(size=192), sample_scene(np.random.default_rng(3), (0, 1.0))
    made = render(scene, 192)
    classes, _ = eye.outline(made.pixels[None])
    for thing, truth in zip(scene.things, made.silhouettes, strict=True):
        seen = classes[0] == CLASSES.index(thing.kind) + 1
        assert (seen & truth).sum() / truth.sum() > 0.7


def test_the_eye_learns_and_comes_back_from_its_file(tmp_path):
    data = examples(8, seed=4)
    before = Eye(EyeNet())
    eye = train(data, steps=8, batch=8, device="cpu")
    background = float((data.classes[0] == 0).mean())
    right = float((eye.outline(data.pixels[0])[0] == data.classes[0]).mean())
    assert right > min(0.5, background - 0.1)
    look, clip = eye.see(data.pixels[0])
    assert torch.allclose(look.norm(dim=1), torch.ones(8), atol=1e-4)
    assert clip.shape == (8, 64)
    assert not torch.allclose(look, before.see(data.pixels[0])[0], atol=0.05)
    eye.save(tmp_path / "eye.safetensors")
    again = Eye.load(tmp_path / "eye.safetensors")
    assert torch.allclose(again.see(data.pixels[0])[0], look, atol=0.02)
    assert torch.equal(eye.read("a vako cat"), eye.read("A vako, cat xyzzy"))
    assert not torch.allclose(eye.read("a vako cat"), eye.read("a zumi cat"))
    with pytest.raises(FileNotFoundError, match="eye_train"):
        Eye.load(tmp_path / "none.safetensors")
