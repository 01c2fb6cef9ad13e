"""The single file: SD1's names, exact in float16, and readable by diffusers' own conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from torch import nn

from tiny_world.export import export, unet_name, vae_name
from tiny_world.model import (
    CHECKPOINT,
    CONFIG,
    LDM_CONFIG,
    WEIGHTS,
    Parts,
    alphas_cumprod,
    build_text_encoder,
    build_unet,
    build_vae,
    load_pipeline_parts,
    load_vae,
)
from tiny_world.render import render
from tiny_world.scene import sample_scene
from tiny_world.vae_train import to_tensor

SD1_NAMES = [
    "model.diffusion_model.time_embed.0.weight",
    "model.diffusion_model.input_blocks.0.0.weight",
    "model.diffusion_model.input_blocks.1.0.in_layers.0.weight",
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
    "model.diffusion_model.input_blocks.3.0.op.weight",
    "model.diffusion_model.input_blocks.4.0.skip_connection.weight",
    "model.diffusion_model.input_blocks.8.1.proj_in.weight",
    "model.diffusion_model.input_blocks.9.0.op.bias",
    "model.diffusion_model.input_blocks.11.0.out_layers.3.weight",
    "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.0.proj.weight",
    "model.diffusion_model.middle_block.2.emb_layers.1.weight",
    "model.diffusion_model.output_blocks.2.1.conv.weight",
    "model.diffusion_model.output_blocks.5.2.conv.weight",
    "model.diffusion_model.output_blocks.11.1.norm.weight",
    "model.diffusion_model.out.2.bias",
    "first_stage_model.encoder.down.0.block.0.norm1.weight",
    "first_stage_model.encoder.down.2.downsample.conv.weight",
    "first_stage_model.encoder.mid.attn_1.proj_out.weight",
    "first_stage_model.encoder.norm_out.weight",
    "first_stage_model.decoder.mid.block_2.conv2.weight",
    "first_stage_model.decoder.up.3.upsample.conv.weight",
    "first_stage_model.decoder.up.0.block.1.conv1.weight",
    "first_stage_model.quant_conv.weight",
    "first_stage_model.post_quant_conv.bias",
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
    "cond_stage_model.transformer.text_model.embeddings.position_ids",
    "cond_stage_model.transformer.text_model.encoder.layers.1.self_attn.q_proj.weight",
    "cond_stage_model.transformer.text_model.final_layer_norm.weight",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[nn.Module]]:
    """A folder with an exported checkpoint of random networks, and these networks."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("export")
    nets: list[nn.Module] = [build_unet(), build_vae(), build_text_encoder(1114)]
    export(folder, *(net.state_dict() for net in nets))
    return folder, nets


@pytest.fixture(scope="module")
def parts() -> Parts:
    return load_pipeline_parts()


def test_round_trip_is_exact(made: tuple[Path, list[nn.Module]]) -> None:
    folder, nets = made
    loaded = load_pipeline_parts(folder / CHECKPOINT.name, folder / CONFIG.name)
    for before, after in zip(nets, (loaded.unet, loaded.vae, loaded.text_encoder), strict=True):
        old, new = before.state_dict(), after.state_dict()
        assert old.keys() == new.keys()
        for name in old:
            assert torch.equal(old[name].half().float(), new[name]), name


def test_diffusers_reads_the_file_itself(made: tuple[Path, list[nn.Module]]) -> None:
    folder, nets = made
    config = str(folder / CONFIG.name)
    file = str(folder / CHECKPOINT.name)
    read = [
        UNet2DConditionModel.from_single_file(file, original_config=config),
        AutoencoderKL.from_single_file(file, original_config=config),
    ]
    for before, after in zip(nets, read, strict=False):
        for name, tensor in before.state_dict().items():
            assert torch.equal(tensor.half().float(), after.state_dict()[name].float()), name


def test_shipped_file_has_sd1s_names() -> None:
    with safe_open(CHECKPOINT, "pt") as file:
        names = set(file.keys())
    assert set(SD1_NAMES) <= names
    assert sum(name.endswith("attn2.to_q.weight") for name in names) == 16
    assert not any(name.startswith("model_ema") for name in names)


def test_shipped_file_is_finite_and_fits_its_configuration(parts: Parts) -> None:
    assert yaml.safe_load(CONFIG.read_text(encoding="utf-8")) == LDM_CONFIG
    for net in (parts.unet, parts.vae, parts.text_encoder):
        assert all(bool(torch.isfinite(p).all()) for p in net.parameters())


def test_text_states_have_a_mean_for_emphasis_to_divide_by(parts: Parts) -> None:
    ids = parts.tokenizer(["a cat", ""], padding="max_length", max_length=77)["input_ids"]
    with torch.no_grad():
        states = parts.text_encoder(torch.tensor(ids)).last_hidden_state
    assert float(states.mean().abs()) > 1e-3


def test_latents_are_near_unit_variance() -> None:
    rng = np.random.default_rng(4)
    pictures = np.stack([render(sample_scene(rng)).pixels for _ in range(6)])
    vae = load_vae()
    with torch.no_grad():
        latents = vae.encode(to_tensor(pictures)).latent_dist.mode() * vae.config.scaling_factor
    assert vae.config.scaling_factor == 0.18215
    assert 0.7 < float(latents.std()) < 1.3


def test_schedule_is_sd1s() -> None:
    a = alphas_cumprod()
    assert a.shape == (1000,)
    assert float(a[0]) == pytest.approx(1 - 0.00085, abs=1e-6)
    assert float(a[-1]) == pytest.approx(0.0047, abs=1e-4)


def test_weights_stay_small() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 30_000_000


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError, match="no parameter of an SD1-like UNet"):
        unet_name("something.weight")
    assert vae_name("decoder.up_blocks.0.resnets.1.conv_shortcut.weight") == "decoder.up.3.block.1.nin_shortcut.weight"


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tasks\.py train-tiny"):
        load_vae(tmp_path / "no.safetensors")
