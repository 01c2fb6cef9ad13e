"""What the tiny checkpoints are made of. Whether WebUI loads them, tests/webui/test_models.py asks."""

import pytest

from tests.models.layout import openclip_text, sdxl_unet
from tests.models.loras import kohya_layers
from tests.models.weights import draw


def test_a_seed_gives_the_same_weights():
    shapes = sdxl_unet()
    first, second, other = draw(shapes, 1), draw(shapes, 1), draw(shapes, 2)
    assert all(first[name].equal(second[name]) for name in shapes)
    assert not any(first[name].equal(other[name]) for name in shapes)


@pytest.mark.parametrize("shapes", [sdxl_unet(), openclip_text()], ids=["unet", "text"])
def test_nothing_is_zero(shapes: dict[str, tuple[int, ...]]):
    weights = draw(shapes, 0)
    assert {name: tuple(value.shape) for name, value in weights.items()} == shapes
    assert all(value.any() for value in weights.values())


TRANSFORMER = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0"
RESBLOCK = "model.transformer.resblocks.2"


@pytest.mark.parametrize(
    ("weight", "sdxl", "layers"),
    [
        (f"{TRANSFORMER}.attn2.to_k", True, ["unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"]),
        (f"{TRANSFORMER}.attn2.to_k", False, ["unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"]),
        (f"{TRANSFORMER}.norm1", True, []),
        ("conditioner.embedders.0.transformer.text_model.encoder.layers.1.mlp.fc1", True, ["te1_text_1_mlp_fc1"]),
        (f"conditioner.embedders.1.{RESBLOCK}.mlp.c_proj", True, ["te2_text_2_mlp_fc2"]),
        (f"cond_stage_model.{RESBLOCK}.attn.out_proj", False, ["te_text_2_self_attn_out_proj"]),
        (f"cond_stage_model.{RESBLOCK}.ln_1", False, []),
    ],
)
def test_layers_have_the_names_of_kohya(weight: str, sdxl: bool, layers: list[str]):
    expected = ["lora_" + layer.replace("_text_", "_text_model_encoder_layers_") for layer in layers]
    assert list(kohya_layers(f"{weight}.weight", sdxl=sdxl)) == expected


def test_queries_keys_and_values_of_one_weight_are_three_layers():
    layers = kohya_layers(f"cond_stage_model.{RESBLOCK}.attn.in_proj_weight", sdxl=False)
    assert [layer.removeprefix("lora_te_text_model_encoder_layers_2_self_attn_") for layer in layers] == [
        "q_proj",
        "k_proj",
        "v_proj",
    ]
