"""What the embedded host shows a merge of its layers' inputs, on the tiny world."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from clora_ext.hosts.diffusers import texts
from clora_ext.hosts.diffusers.checkpoint import Model, load
from clora_ext.hosts.diffusers.merging import DrawnFeatures
from clora_ext.lora.files import LoraFile, read_lora
from clora_ext.lora.kinds import delta_of_parts
from clora_ext.merge.inputs import Ingredient, read_ingredients
from clora_ext.merge.layer import FactoredDelta, LayerDelta
from clora_ext.merge.methods import MERGE_METHODS
from clora_ext.merge.prompts import AS_RELEASED, PROMPTS
from clora_ext.merge.run import Merge, Stage, stage_of
from clora_ext.merge.store import Store
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS
from tiny_world.xl_model import XL_CHECKPOINT, XL_CONFIG, XL_WEIGHTS, tokenizer_folder

KEY = "lora_unet_up_blocks_3_attentions_0_transformer_blocks_0_attn2_to_k"
QUERY = "lora_unet_up_blocks_3_attentions_0_transformer_blocks_0_attn2_to_q"
LAST_TEXT = "lora_te_text_model_encoder_layers_1_mlp_fc2"
STEPS = 3
Seen = list[tuple[str, Tensor, bool]]


class FileLora:
    """A LoRA's file and the weights that it is for."""

    def __init__(self, file: LoraFile, source: DrawnFeatures) -> None:
        self.file, self.source, self.layers = file, source, tuple(file.layers)

    def rank(self, layer: str) -> int:
        """Of a delta."""
        return self.delta(layer).rank

    def delta(self, layer: str) -> LayerDelta:
        """Two factors."""
        weight = self.source.modules[layer].weight
        found = delta_of_parts(self.file.layers[layer], weight, 1.0)
        return FactoredDelta(tuple(weight.shape), found.up * found.scale, found.down)


@pytest.fixture(scope="module")
def model() -> Model:
    return load(CHECKPOINT, CONFIG, TOKENIZER)


@pytest.fixture(scope="module")
def source(model: Model) -> DrawnFeatures:
    return DrawnFeatures(model, ["vako cat"], steps=STEPS)


@pytest.fixture(scope="module")
def lora(source: DrawnFeatures) -> FileLora:
    return FileLora(read_lora(WEIGHTS / "lora" / "tuxcat.safetensors"), source)


def _show(source: DrawnFeatures, stage: Stage, lora: FileLora, layer: str) -> Seen:
    found: Seen = []
    own = {name: lora.delta(name) for name in lora.layers if stage_of(name) is stage}
    with torch.no_grad():
        source.show(stage, 0, own, [layer], lambda name, x, held: found.append((name, x.clone(), held)))
    return found


def test_a_text_encoders_layer_is_given_what_merged_weights_give_it(source: DrawnFeatures, lora: FileLora):
    found = _show(source, Stage.TEXT, lora, LAST_TEXT)
    assert [held for _, _, held in found] == [False] * len(PROMPTS.learned) + [True] * len(PROMPTS.held)
    merged = load(CHECKPOINT, CONFIG, TOKENIZER)
    into = DrawnFeatures(merged, ["vako cat"])
    with torch.no_grad():
        for name in lora.layers:
            if stage_of(name) is Stage.TEXT:
                into.modules[name].weight += lora.delta(name).matrix
        seen: list[Tensor] = []
        into.modules[LAST_TEXT].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        texts.encode_tokens(merged.text_encoders[0], [texts.tokenize(merged, "a photo of a vako cat")])
    torch.testing.assert_close(found[0][1], seen[0], rtol=1e-4, atol=1e-5)


def test_keys_are_given_texts_as_the_merged_encoders_write_them(source: DrawnFeatures, lora: FileLora, model: Model):
    found: Seen = []
    text = {name: lora.delta(name) for name in lora.layers if stage_of(name) is Stage.TEXT}
    with torch.no_grad():
        for active in (text, {}):
            source.show(Stage.CROSS, 0, active, [KEY], lambda *told: found.append(told))
    half = len(found) // 2
    plain = texts.encode_tokens(model.text_encoders[0], [texts.tokenize(model, "a photo of a vako cat")])
    assert torch.equal(found[half][1], plain[0].tokens)
    assert (found[0][1] - found[half][1]).abs().max() > 0.01


def test_as_released_only_the_concept_and_the_end_count(model: Model, lora: FileLora):
    source = DrawnFeatures(model, ["vako cat"], AS_RELEASED)
    (_, photo, _), (_, alone, _) = _show(source, Stage.CROSS, lora, KEY)
    assert len(photo) == len(alone)
    tokens = texts.tokenize(model, "vako cat")
    assert len(alone) == len(tokens.offsets) + 1
    ((_, read, _), _) = _show(source, Stage.TEXT, lora, LAST_TEXT)
    assert read.shape[1] == len(texts.tokenize(model, "photo of a vako cat").offsets) + 2


def test_pictures_show_every_call_and_hold_one_out(source: DrawnFeatures, lora: FileLora):
    found = _show(source, Stage.PICTURE, lora, QUERY)
    assert [held for _, _, held in found] == [False, True] * STEPS
    assert {x.shape[0] for _, x, _ in found} == {1}
    again = _show(source, Stage.PICTURE, lora, QUERY)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(found, again, strict=True))


def test_one_lora_comes_out_as_it_went_in(source: DrawnFeatures, lora: FileLora, tmp_path: Path):
    for method in ("span", "default"):
        merge = Merge([lora], source, MERGE_METHODS[method], Store(tmp_path, {"method": method}))
        found = merge.run()
        assert set(found) == set(lora.layers)
        assert max(solved.error for solved in found.values()) < 1e-3
    torch.testing.assert_close(found[QUERY].delta.matrix, lora.delta(QUERY).matrix, rtol=0.05, atol=0.02)


def test_so_does_one_for_sdxl_with_both_text_encoders(tmp_path: Path):
    model = load(XL_CHECKPOINT, XL_CONFIG, tokenizer_folder())
    layers = DrawnFeatures(model, ()).modules
    weights = {name: layer.weight.detach() for name, layer in layers.items()}
    loras = read_ingredients([Ingredient(XL_WEIGHTS / "lora" / "tuxcat-xl.safetensors")], "SDXL", weights)
    source = DrawnFeatures(model, ["vako cat"], steps=2, size=(64, 64))
    found = Merge(loras, source, MERGE_METHODS["span"], Store(tmp_path, {})).run()
    assert set(found) == set(loras[0].layers)
    assert {name[:9] for name in found} == {"lora_te1_", "lora_te2_", "lora_unet"}
    for name, solved in found.items():
        assert solved.error < 1e-3
        own = loras[0].delta(name).matrix
        assert float((solved.delta.matrix - own).norm()) < 0.2 * float(own.norm()), name


def test_nothing_stays_in_the_model(source: DrawnFeatures, lora: FileLora):
    _show(source, Stage.PICTURE, lora, QUERY)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in source.modules.values())
