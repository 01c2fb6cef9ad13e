"""LoRA files: kohya's names and metadata, the same effect merged and as layers, two sets of all concepts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from tiny_world.concepts import CONCEPTS, STYLES
from tiny_world.lora_train import (
    AFAR,
    NAMES,
    SHAPED,
    LoraLayer,
    inject,
    learning,
    lora_files,
    lora_scenes,
    lora_state,
    merge,
    metadata,
)
from tiny_world.model import TOKENIZER, WEIGHTS, Parts, build_text_encoder, build_unet, build_vae, scheduler_config

FILES = [path for _, _, _, path in lora_files(WEIGHTS)]
KEY = re.compile(
    r"(lora_unet_(down_blocks_[0-2]|mid_block|up_blocks_[1-3])_attentions_[0-2]_transformer_blocks_0_"
    r"(attn[12]_to_(q|k|v|out_0)|ff_net_(0_proj|2))"
    r"|lora_te_text_model_encoder_layers_[01]_(self_attn_(q|k|v|out)_proj|mlp_fc[12]))"
    r"\.(lora_down\.weight|lora_up\.weight|alpha)"
)


def make_parts() -> Parts:
    torch.manual_seed(1)
    tokenizer = CLIPTokenizer.from_pretrained(str(TOKENIZER))
    return Parts(build_unet(), build_vae(), build_text_encoder(len(tokenizer)), tokenizer, scheduler_config())


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


def test_fresh_lora_changes_nothing_and_only_wraps_linear_layers() -> None:
    parts = make_parts()
    before = output(parts)
    layers = inject(parts.unet, False, 4, 4.0, torch.Generator())
    assert len(layers) == 100
    assert torch.equal(output(parts), before)
    with pytest.raises(TypeError, match="needs a Linear layer"):
        LoraLayer(torch.nn.Conv2d(1, 1, 1), 4, 4.0, torch.Generator())


@pytest.mark.parametrize("name", NAMES)
def test_training_scenes_show_the_concept(name: str) -> None:
    scenes = lora_scenes(name, 12, 1)
    for scene in scenes:
        concepts = [thing.concept for thing in scene.things]
        if name in STYLES:
            assert scene.style == name
            assert set(concepts) == {None}
        else:
            assert concepts == [name]
            assert scene.style is None
    assert lora_scenes(name, 12, 1) == scenes != lora_scenes(name, 12, 2)


def test_every_other_scene_shows_its_thing_from_afar() -> None:
    sizes = [scene.things[0].size for scene in lora_scenes("tuxcat", 40, 1)]
    assert all(size <= AFAR[1] for size in sizes[1::2])
    assert min(sizes[::2]) > 0.38 > 0.32 > min(sizes[1::2])
    for (thing,) in (scene.things for scene in lora_scenes("tuxcat", 40, 1)):
        assert thing.size / 2 <= thing.x <= 1 - thing.size / 2
        assert thing.size / 2 <= thing.y <= 1 - thing.size / 2


def test_farther_scenes_leave_one_of_four_near() -> None:
    usual, farther = (lora_scenes("tuxcat", 40, 1, farther=more) for more in (False, True))
    assert [one == other for one, other in zip(usual, farther, strict=True)] == [False, True, True, True] * 10
    assert all(scene.things[0].size <= AFAR[1] for scene in farther[::4])


def test_a_second_training_learns_as_its_concept_unless_it_says_otherwise() -> None:
    assert learning("tuxcat-b") == learning("tuxcat")
    assert learning("tigercat-b").times > learning("tigercat").times


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
    assert sum(layer.startswith("lora_te_") for layer in layers) == (12 if learning(path.stem).text else 0)
    for layer in layers:
        down, up = state[f"{layer}.lora_down.weight"], state[f"{layer}.lora_up.weight"]
        assert down.shape[0] == up.shape[1] == 4 * learning(path.stem).wider
        assert down.dtype == torch.float16
        assert bool(torch.isfinite(down).all())
        assert float(up.abs().max()) > 0
    with safe_open(path, "pt") as file:
        fields = file.metadata()
    assert fields["ss_base_model_version"] == "sd_v1"
    assert fields["ss_network_dim"] == fields["ss_network_alpha"] == str(4 * learning(path.stem).wider)
    assert fields["modelspec.title"] == path.stem
    word, noun = fields["modelspec.trigger_phrase"].split()
    assert word == (CONCEPTS[name].trigger if name in CONCEPTS else STYLES[name].trigger)
    assert noun == (CONCEPTS[name].kind if name in CONCEPTS else "style")


def test_the_second_set_is_another_training() -> None:
    for name in NAMES:
        first = load_file(WEIGHTS / "lora" / f"{name}.safetensors")
        second = load_file(WEIGHTS / "lora-b" / f"{name}-b.safetensors")
        assert first.keys() == second.keys() or learning(name) != learning(f"{name}-b")
        key = next(key for key in first if key in second and key.endswith("lora_up.weight"))
        other = second[key]
        assert first[key].shape != other.shape or not torch.allclose(first[key], other, atol=1e-3)
