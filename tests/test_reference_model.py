"""The reference model is made again bit for bit, so the comparison with the authors' code needs no download."""

from pathlib import Path

import pytest
import torch

from tests.golden.authors import rebuild

as_original = pytest.mark.skipif(not rebuild.AS_ORIGINAL, reason="torch may draw numbers here whose last bits differ")


@pytest.fixture(scope="module")
def model() -> rebuild.Weights:
    return rebuild.make_model(seed=0)


@as_original
def test_model_is_the_original(model: rebuild.Weights):
    assert rebuild.tensors_digest(model) == rebuild.DIGESTS["tiny-sd1"]


def test_another_seed_gives_another_model():
    assert rebuild.tensors_digest(rebuild.make_model(seed=1)) != rebuild.DIGESTS["tiny-sd1"]


@as_original
@pytest.mark.parametrize(("name", "seed"), [("tinyA", 1), ("tinyB", 2)])
def test_lora_is_the_original(model: rebuild.Weights, name: str, seed: int):
    assert rebuild.tensors_digest(rebuild.make_lora(model, seed)) == rebuild.DIGESTS[name]


def test_digest_sees_names_types_and_bits(model: rebuild.Weights):
    name = "model.diffusion_model.out.2.weight"
    digest = rebuild.tensors_digest({name: model[name]})
    changed = model[name].clone()
    changed.view(torch.int32)[0, 0, 0, 0] ^= 1
    assert digest == rebuild.tensors_digest({name: model[name].clone()})
    assert digest not in {
        rebuild.tensors_digest({name: changed}),
        rebuild.tensors_digest({name + "x": model[name]}),
        rebuild.tensors_digest({name: model[name].view(torch.int32)}),
    }


def test_wrong_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rebuild, "make_model", lambda seed: {"weight": torch.tensor([float(seed)])})
    with pytest.raises(ValueError, match="tiny-sd1 came out different"):
        rebuild.rebuild(tmp_path)


def test_vocabulary_is_clips():
    words = rebuild.vocabulary()
    assert len(words) == rebuild.VOCABULARY
    assert [words[word] for word in ("a</w>", "cat</w>", "and</w>", "dog</w>")] == [320, 2368, 537, 1929]
    assert words["<|endoftext|>"] == rebuild.VOCABULARY - 1
