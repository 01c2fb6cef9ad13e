"""LoRA files: kohya's names and metadata, the same effect merged and as layers, two sets of all concepts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from tiny_world.concepts import CONCEPTS, STYLES
from tiny_world.lora import NAMES, SHAPED, LoraLayer, inject, lora_files, lora_state, merge, metadata
from tiny_world.lora_train import AFAR, Lessons, LoraSettings, lora_scenes, train_lora
from tiny_world.model import TOKENIZER, WEIGHTS, Parts, build_text_encoder, build_unet, build_vae, scheduler_config
from tiny_world.scenes import encode

FILES = [path for _, _, _, path in lora_files(WEIGHTS)]
KEY = re.compile(
    r"(lora_unet_(down_blocks_[0-2]|mid_block|up_blocks_[1-3])_attentions_[0-2]_transformer_blocks_0_"
    r"(attn[12]_to_(q|k|v|out_0)|ff_net_(0_proj|2))"
    r"|lora_te_text_model_encoder_layers_[01]_(self_attn_(q|k|v|out)_proj|mlp_fc[12]))"
    r"\.(lora_down\.weight|lora_up\.weight|alpha)"
)


SHORT = LoraSettings(scenes=8, captions=3, steps=2, batch=4)


def make_parts() -> Parts:
    torch.manual_seed(1)
    tokenizer = CLIPTokenizer.from_pretrained(str(TOKENIZER))
    return Parts(build_unet(), build_vae(), build_text_encoder(len(tokenizer)), tokenizer, scheduler_config())


@pytest.fixture(scope="module")
def lessons() -> Lessons:
    scenes = lora_scenes("towerhouse", 8, 1)
    return Lessons.of("towerhouse", scenes, make_parts(), np.random.default_rng(0), torch.device("cpu"), SHORT)


@torch.no_grad()
def output(parts: Parts) -> torch.Tensor:
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    context = parts.text_encoder(torch.arange(77)[None]).last_hidden_state
    return parts.unet(x, torch.tensor([500]), context).sample


def test_merged_lora_equals_lora_layers() -> None:
    parts = make_parts()
    before = output(parts)
    generator = torch.Generator().manual_seed(2)
    layers = inject(parts.unet, False, 4, 2.0, generator) | inject(parts.text_encoder, True, 4, 2.0, generator)
    for layer in layers.values():
        layer.down.data = layer.down.data.half().float()
        layer.up.data.normal_(std=0.05, generator=generator)
        layer.up.data = layer.up.data.half().float()
    with_layers = output(parts)
    state = lora_state(layers)
    parts = make_parts()
    assert torch.equal(output(parts), before)
    merge(parts, state, 1.0)
    assert float((with_layers - before).abs().max()) > 1e-2
    assert torch.allclose(output(parts), with_layers, atol=2e-5)
    merge(parts, state, -1.0)
    assert torch.allclose(output(parts), before, atol=2e-5)


def test_fresh_lora_changes_nothing_and_wraps_no_norm() -> None:
    parts = make_parts()
    before = output(parts)
    layers = inject(parts.unet, False, 4, 4.0, torch.Generator())
    assert len(layers) == 100
    assert torch.equal(output(parts), before)
    assert not any(isinstance(layer.base, torch.nn.Conv2d) for layer in layers.values())
    with pytest.raises(TypeError, match="needs a Linear or Conv2d layer, not GroupNorm"):
        LoraLayer(torch.nn.GroupNorm(1, 1), 4, 4.0, torch.Generator())


def test_a_strided_convolution_is_adapted_as_its_merged_weights_would() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.nn.Conv2d(3, 5, 3, stride=2, padding=1)
    layer = LoraLayer(base, 2, 1.0, generator)
    layer.up.data = torch.randn(layer.up.shape, generator=generator)
    x = torch.randn(1, 3, 8, 8, generator=generator)
    delta = 0.5 * (layer.up.flatten(1) @ layer.down.flatten(1)).view_as(base.weight)
    merged = torch.nn.functional.conv2d(x, base.weight + delta, base.bias, 2, 1)
    assert torch.allclose(layer(x), merged, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_training_scenes_show_the_concept(name: str) -> None:
    scenes = lora_scenes(name, 12, 1)
    for scene in scenes:
        concepts = [thing.concept for thing in scene.things]
        if name in STYLES:
            assert scene.style == name
            assert set(concepts) == {None}
        else:
            assert [concept for concept in concepts if concept] == [name]
            assert scene.style is None
    assert lora_scenes(name, 12, 1) == scenes != lora_scenes(name, 12, 2)


def test_one_of_four_scenes_is_near_and_two_are_from_afar() -> None:
    scenes = [scene for place, scene in enumerate(lora_scenes("tuxcat", 60, 1)) if place % 4 != 1]
    sizes = [scene.things[0].size for scene in scenes]
    assert all(size <= AFAR[1] for place, size in enumerate(sizes) if place % 3)
    assert max(sizes[::3]) > AFAR[1]
    assert min(sizes[::3]) > 0.38 > 0.32 > min(sizes)
    for (thing,) in (scene.things for scene in scenes):
        assert thing.size / 2 <= thing.x <= 1 - thing.size / 2
        assert thing.size / 2 <= thing.y <= 1 - thing.size / 2


def test_one_of_four_scenes_is_a_crowd_of_other_classes() -> None:
    scenes = lora_scenes("towerhouse", 40, 1)
    assert [len(scene.things) > 1 for scene in scenes] == [False, True, False, False] * 10
    for scene in scenes:
        assert [thing.concept for thing in scene.things].count("towerhouse") == 1
        assert all(thing.kind != "house" for thing in scene.things if thing.concept is None)
    assert max(len(scene.things) for scene in scenes) == 4


def test_lessons_focus_on_the_subject_alone(lessons: Lessons) -> None:
    parts = make_parts()
    scenes = lora_scenes("towerhouse", 8, 1)
    pool = encode(parts.vae, scenes, torch.device("cpu"))
    for place, scene in enumerate(scenes):
        own = next(index for index, thing in enumerate(scene.things) if thing.concept == "towerhouse")
        expected = pool.coverage[place, own].float() / 255
        assert torch.allclose(lessons.regions[place].sum(0), expected, atol=1e-6)
    assert float(lessons.regions.sum()) > 0


def test_lessons_pair_every_scene_with_its_own_captions(lessons: Lessons) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(str(TOKENIZER))
    nothing = tokenizer("", padding="max_length", max_length=77).input_ids
    assert lessons.ids[-1].tolist() == nothing
    seen = set()
    for step in range(SHORT.steps):
        batch = lessons.batch(step)
        assert batch.latents.shape == (SHORT.batch, 4, 16, 16)
        assert int(batch.owners.max()) == -1
        for scene, text in zip(lessons.taken[step].tolist(), lessons.texts[step].tolist(), strict=True):
            seen.add(scene)
            assert text == 8 * SHORT.captions or text // SHORT.captions == scene
    assert seen == set(range(8))
    trigger = tokenizer(CONCEPTS["towerhouse"].trigger, add_special_tokens=False).input_ids
    for ids in lessons.ids[:-1].tolist():
        assert any(ids[at : at + len(trigger)] == trigger for at in range(77))


def test_a_lora_is_trained_and_written(tmp_path: Path) -> None:
    parts = make_parts()
    path = tmp_path / "lora" / "tuxcat.safetensors"
    loss = train_lora("tuxcat", "tuxcat", 1, parts, path, torch.device("cpu"), SHORT)
    assert 0 < loss < 10
    state = load_file(path)
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert max(float(value.abs().max()) for key, value in state.items() if key.endswith("lora_up.weight")) > 0
    again = tmp_path / "again.safetensors"
    assert train_lora("tuxcat", "tuxcat", 1, parts, again, torch.device("cpu"), SHORT) == loss
    other = load_file(again)
    assert all(torch.equal(state[key], other[key]) for key in state)
    with pytest.raises(ValueError, match="no concept or style 'dragon'"):
        train_lora("dragon", "dragon", 1, parts, path, torch.device("cpu"), SHORT)


def test_metadata_names_the_trigger_phrase() -> None:
    fields = metadata("tuxcat", "tuxcat", ["a vako cat in the snow", "a vako cat, x style"], 10, 1, 4)
    assert fields["modelspec.trigger_phrase"] == f"{CONCEPTS['tuxcat'].trigger} cat"
    assert json.loads(fields["ss_tag_frequency"]) == {
        "1_vako cat": {"a vako cat in the snow": 1, "a vako cat": 1, "x style": 1}
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_file(path: Path) -> None:
    name = path.stem.removesuffix("-b")
    state = load_file(path)
    assert all(KEY.fullmatch(key) for key in state)
    layers = {key.split(".", 1)[0] for key in state}
    assert len(state) == 3 * len(layers)
    assert sum(layer.startswith("lora_unet_") for layer in layers) == (160 if name in SHAPED else 100)
    assert sum(layer.startswith("lora_te_") for layer in layers) in (0, 12)
    with safe_open(path, "pt") as file:
        fields = file.metadata()
    rank = int(fields["ss_network_dim"])
    assert rank in ((4, 8) if name in SHAPED else (4,))
    for layer in layers:
        down, up = state[f"{layer}.lora_down.weight"], state[f"{layer}.lora_up.weight"]
        assert down.shape[0] == up.shape[1] == rank
        assert down.dtype == torch.float16
        assert bool(torch.isfinite(down).all())
        assert float(up.abs().max()) > 0
    assert fields["ss_base_model_version"] == "sd_v1"
    assert fields["ss_network_dim"] == fields["ss_network_alpha"]
    assert fields["modelspec.title"] == path.stem
    word, noun = fields["modelspec.trigger_phrase"].split()
    assert word == (CONCEPTS[name].trigger if name in CONCEPTS else STYLES[name].trigger)
    assert noun == (CONCEPTS[name].kind if name in CONCEPTS else "style")


def test_the_second_set_is_another_training() -> None:
    for name in NAMES:
        first = load_file(WEIGHTS / "lora" / f"{name}.safetensors")
        second = load_file(WEIGHTS / "lora-b" / f"{name}-b.safetensors")
        key = next(key for key in first if key in second and key.endswith("lora_up.weight"))
        other = second[key]
        assert first[key].shape != other.shape or not torch.allclose(first[key], other, atol=1e-3)
