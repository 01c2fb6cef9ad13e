"""The world of SDXL's topology: its file, its text encoders, its start, its frozen LoRAs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from tiny_world import frozen
from tiny_world.lora import inject, kohya_name, lora_files, lora_state, merge
from tiny_world.model import Parts, condition, load_pipeline_parts
from tiny_world.text_mean import give_mean
from tiny_world.text_pair import END, FIRST_WIDTH, Vocabulary, in_eight_bits, learning, settled
from tiny_world.train import begin_with
from tiny_world.worlds import WORLDS, XL
from tiny_world.xl_model import (
    SGM_CONFIG,
    XL_CHECKPOINT,
    XL_CONFIG,
    XL_WEIGHTS,
    build,
    export,
    load,
    open_clip_state,
    sgm_name,
    tokenizer_folder,
    tower_state,
    write,
)

NAMES = [
    "model.diffusion_model.label_emb.0.0.weight",
    "model.diffusion_model.label_emb.0.2.bias",
    "model.diffusion_model.input_blocks.1.0.in_layers.0.weight",
    "model.diffusion_model.input_blocks.2.0.op.weight",
    "model.diffusion_model.input_blocks.3.1.transformer_blocks.0.attn2.to_k.weight",
    "model.diffusion_model.input_blocks.5.1.proj_in.weight",
    "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight",
    "model.diffusion_model.output_blocks.1.2.conv.weight",
    "model.diffusion_model.output_blocks.3.2.conv.weight",
    "model.diffusion_model.output_blocks.5.0.skip_connection.weight",
    "model.diffusion_model.out.2.bias",
    "conditioner.embedders.0.transformer.text_model.encoder.layers.2.mlp.fc1.weight",
    "conditioner.embedders.1.model.transformer.resblocks.2.attn.in_proj_weight",
    "conditioner.embedders.1.model.ln_final.weight",
    "conditioner.embedders.1.model.text_projection",
    "first_stage_model.encoder.mid.attn_1.q.weight",
]
KEY = re.compile(
    r"(lora_unet_(input_blocks_3|output_blocks_[0-3])_1_transformer_blocks_0_(attn[12]_to_(q|k|v|out_0)|ff_net_(0_proj|2))"
    r"|lora_unet_output_blocks_[45]_0_(in_layers_2|out_layers_3)"
    r"|lora_te1_text_model_encoder_layers_[01]_self_attn_(q|k|v|out)_proj"
    r"|lora_te2_text_model_encoder_layers_[0-2]_self_attn_(q|k|v|out)_proj)"
    r"\.(lora_down\.weight|lora_up\.weight|alpha)"
)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return load()


@pytest.fixture(scope="module")
def fresh() -> Parts:
    return build()


def ids_of(parts: Parts, *texts: str) -> torch.Tensor:
    return torch.tensor(parts.tokenizer(list(texts), padding="max_length", max_length=77, truncation=True)["input_ids"])


def test_the_shipped_file_has_sdxls_names_and_no_attention_at_the_first_level() -> None:
    with safe_open(XL_CHECKPOINT, "pt") as file:
        names = set(file.keys())
    assert set(NAMES) <= names
    crossed = {name.split(".attn2")[0] for name in names if name.endswith("attn2.to_q.weight")}
    assert len(crossed) == 7
    assert not any(re.search(r"input_blocks\.1\.1\.|output_blocks\.[45]\.1\.", name) for name in names)


def test_all_of_it_fits_into_fifteen_megabytes() -> None:
    kept = [path for path in XL_WEIGHTS.rglob("*") if path.is_file() and path.parent.name != "tokenizer"]
    assert XL_CHECKPOINT in kept
    assert sum(path.stat().st_size for path in kept) <= 15_000_000


def test_a_file_reads_back_as_it_was_but_for_the_mean(fresh: Parts, tmp_path: Path) -> None:
    (tmp_path / "merges.txt.gz").write_bytes((XL_WEIGHTS / "merges.txt.gz").read_bytes())
    export(tmp_path, fresh.unet.state_dict(), fresh.vae.state_dict(), fresh.text_encoder.state_dict())
    again = load(tmp_path)
    told = build()
    give_mean(told)
    settled(told.text_encoder)
    pairs = ((told.unet, again.unet), (fresh.vae, again.vae), (told.text_encoder, again.text_encoder))
    for before, after in pairs:
        old, new = before.state_dict(), after.state_dict()
        assert old.keys() == new.keys()
        for name in old:
            assert torch.equal(old[name].half(), new[name].half()), name
    assert yaml.safe_load((tmp_path / XL_CONFIG.name).read_text(encoding="utf-8")) == SGM_CONFIG


def test_a_weight_that_is_not_finite_is_refused(fresh: Parts, tmp_path: Path) -> None:
    (tmp_path / "merges.txt.gz").write_bytes((XL_WEIGHTS / "merges.txt.gz").read_bytes())
    broken = build()
    broken.unet.conv_out.bias.data[0] = torch.nan
    with pytest.raises(ValueError, match="not finite in half precision"):
        write(broken, tmp_path, "")


def test_the_shipped_file_is_finite_and_has_the_first_worlds_autoencoder(parts: Parts) -> None:
    for net in (parts.unet, parts.vae, parts.text_encoder):
        assert all(bool(torch.isfinite(value).all()) for value in net.state_dict().values())
    first = load_pipeline_parts().vae.state_dict()
    assert all(torch.equal(value, first[name]) for name, value in parts.vae.state_dict().items())


def test_the_unet_begins_with_what_fits_of_the_first_worlds(fresh: Parts) -> None:
    first, own = load_pipeline_parts().unet.state_dict(), fresh.unet.state_dict()
    assert torch.equal(own["conv_in.weight"], first["conv_in.weight"])
    assert torch.equal(own["mid_block.resnets.0.conv1.weight"], first["mid_block.resnets.0.conv1.weight"])
    linear, convolution = "down_blocks.1.attentions.0.proj_in.weight", "down_blocks.0.attentions.1.proj_in.weight"
    assert torch.equal(own[linear], first[convolution][:, :, 0, 0])
    assert own["down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape == (64, 48)


def test_an_empty_text_says_nothing_and_others_have_a_mean(parts: Parts) -> None:
    said = condition(parts.text_encoder, ids_of(parts, "", "a cat in the grass"))
    states, pooled = said["encoder_hidden_states"], said["added_cond_kwargs"]["text_embeds"]
    assert states.shape == (2, 77, 48)
    assert not states[0].any()
    assert not pooled[0].any()
    assert pooled[1].any()
    for part in states[1].split([FIRST_WIDTH, 48 - FIRST_WIDTH], dim=-1):
        assert float(part.mean().abs()) > 1e-3  # WebUI's emphasis divides by it
    assert said["added_cond_kwargs"]["time_ids"].tolist() == [[192, 192, 0, 0, 192, 192]] * 2


def test_what_stands_behind_a_token_does_not_reach_it(parts: Parts) -> None:
    one, two = ids_of(parts, "a cat and a dog", "a cat and a house").split(1)
    same = int((one == two).long().cumprod(dim=1).sum())
    first, second = (condition(parts.text_encoder, ids)["encoder_hidden_states"][0] for ids in (one, two))
    assert torch.allclose(first[:same], second[:same], atol=1e-6)
    assert not torch.allclose(first[same], second[same], atol=1e-3)


def test_a_vocabulary_learns_the_chosen_rows_alone() -> None:
    table = in_eight_bits(torch.randn(10, 4)).float()
    tokens = Vocabulary(table, [2, 7])
    said = tokens(torch.tensor([[2, 3, 7, 3]]))
    assert torch.equal(said[0], table[[2, 3, 7, 3]])
    said.sum().backward()
    assert tokens.rows.grad is not None
    assert torch.equal(tokens.rows.grad, torch.ones(2, 4))
    tokens.rows.data += 1
    assert torch.equal(tokens.whole()[[2, 7]], table[[2, 7]] + 1)
    assert torch.equal(tokens.whole()[:2], table[:2])


def test_settled_encoders_learn_again_as_they_were(fresh: Parts) -> None:
    ids = ids_of(fresh, "a quick brown dog")
    plain = settled(build().text_encoder)
    before = plain(ids)["encoder_hidden_states"]
    again = learning(plain, [END, 320])
    assert torch.equal(again.eval()(ids)["encoder_hidden_states"], before)


def test_open_clips_names_lead_back(parts: Parts) -> None:
    second = parts.text_encoder.second.state_dict()
    state, projection = tower_state(open_clip_state(second, parts.text_encoder.projection.weight))
    assert torch.equal(projection, parts.text_encoder.projection.weight)
    assert state.keys() == {name for name in second if not name.endswith("position_ids")}
    assert all(torch.equal(value, second[name]) for name, value in state.items())


def test_the_tokenizer_is_clips(parts: Parts) -> None:
    assert len(parts.tokenizer) == 49408
    assert ids_of(parts, "a photo of a cat, masterpiece")[0, :9].tolist() == [
        49406, 320, 1125, 539, 320, 2368, 267, 12066, 49407,
    ]  # fmt: skip
    assert {path.name for path in tokenizer_folder().iterdir()} >= {"vocab.json", "merges.txt", "tiny-bigG.json"}


def test_sgm_names_of_the_vector_and_the_levels() -> None:
    assert sgm_name("add_embedding.linear_2.weight") == "label_emb.0.2.weight"
    assert sgm_name("up_blocks.1.upsamplers.0.conv.bias") == "output_blocks.3.2.conv.bias"
    assert sgm_name("down_blocks.0.downsamplers.0.conv.bias") == "input_blocks.2.0.op.bias"
    assert kohya_name("second.encoder.layers.1.self_attn.q_proj", True, "sdxl") == (
        "lora_te2_text_model_encoder_layers_1_self_attn_q_proj"
    )


def test_a_lora_as_layers_and_merged_is_the_same(parts: Parts) -> None:
    generator = torch.Generator().manual_seed(0)
    layered, merged = load(), load()
    layers = inject(layered.unet, False, 4, 4, generator) | inject(layered.text_encoder, True, 4, 4, generator)
    for layer in layers.values():
        layer.up.data = torch.randn(layer.up.shape, generator=generator).half().float() * 0.1
        layer.down.data = layer.down.data.half().float()
    merge(merged, lora_state(layers), 1.0)
    x, ids = torch.randn(1, 4, 24, 24, generator=generator), ids_of(parts, "a vako cat")
    with torch.no_grad():
        one, two, plain = (
            made.unet(x, torch.tensor(500), **condition(made.text_encoder, ids)).sample
            for made in (layered, merged, parts)
        )
    assert torch.allclose(one, two, atol=2e-2)
    assert not torch.allclose(one, plain, atol=1e-1)


def test_the_loras_are_frozen_and_as_they_were() -> None:
    assert frozen.check(XL_WEIGHTS)
    found = {path.relative_to(XL_WEIGHTS).as_posix() for *_, path in lora_files(XL_WEIGHTS, XL)}
    assert set(frozen.read(XL_WEIGHTS)) == found
    assert len(found) == 12


@pytest.mark.parametrize("path", [path for *_, path in lora_files(XL_WEIGHTS, XL)], ids=lambda path: path.stem)
def test_a_lora_has_kohyas_names_of_sdxl(path: Path) -> None:
    state = load_file(path)
    assert all(KEY.fullmatch(name) for name in state)
    assert all(np.isfinite(tensor.float().numpy()).all() for tensor in state.values())
    with safe_open(path, "pt") as file:
        told = file.metadata()
    assert told["ss_base_model_version"] == "sdxl_base_v1-0"
    assert told["ss_output_name"] == path.stem


def test_what_is_frozen_is_not_trained_again(tmp_path: Path) -> None:
    assert not frozen.check(tmp_path)
    (tmp_path / "one.safetensors").write_bytes(b"1")
    frozen.freeze(tmp_path, [tmp_path / "one.safetensors"])
    assert frozen.check(tmp_path)
    with pytest.raises(ValueError, match="not trained again"):
        frozen.freeze(tmp_path, [])
    (tmp_path / "one.safetensors").write_bytes(b"2")
    with pytest.raises(ValueError, match="not as it was"):
        frozen.check(tmp_path)


def test_training_again_begins_with_the_finished_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiny_world.train.measure", lambda *_: 26.0)
    begin_with(XL, XL_WEIGHTS, tmp_path, torch.device("cpu"))
    start, made = torch.load(tmp_path / "start.pt"), build()
    made.unet.load_state_dict(start["unet"])
    made.text_encoder.load_state_dict(start["text"])
    ids = ids_of(made, "a red cat and a vako dog")
    ours, theirs = (condition(p.text_encoder.eval(), ids)["encoder_hidden_states"] for p in (made, load()))
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_worlds_are_named() -> None:
    assert list(WORLDS) == ["first", "xl"]
