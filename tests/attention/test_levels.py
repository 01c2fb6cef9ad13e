"""Cross-attention factors of the UNets of diffusers, whose blocks run in another order than they are registered."""

import pytest
import torch

from clora_ext.attention.levels import attention_factors, layers_until

diffusers = pytest.importorskip("diffusers", reason="WebUI's Python has no diffusers")

SMALL = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "cross_attention_dim": 8, "attention_head_dim": 2}
SD1 = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
SDXL = {
    "block_out_channels": (8, 8, 8),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (SD1, {1: 5, 2: 5, 4: 5, 8: 1}),
        (SDXL, {2: 4 + 6, 4: 20 + 10 + 30}),
    ],
)
def test_factors_of_diffusers_unets(kind: dict, expected: dict[int, int]):
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**SMALL | kind)
    factors = list(attention_factors(unet).values())
    assert {factor: factors.count(factor) for factor in sorted(set(factors))} == expected
    assert factors[0] == min(expected)
    coarsest = factors.index(max(factors))
    assert factors[:coarsest] == sorted(factors[:coarsest]), "down the blocks first"
    assert factors[coarsest:] == sorted(factors[coarsest:], reverse=True), "then up"


@pytest.mark.parametrize(
    ("kind", "until", "expected"),
    [
        (SD1, "up", {1: 5, 2: 5, 4: 5, 8: 1}),
        (SD1, "middle", {1: 2, 2: 2, 4: 2, 8: 1}),
        (SD1, "down", {1: 2, 2: 2, 4: 2, 8: 1}),  # the middle alone has the coarsest
        (SDXL, "up", {2: 10, 4: 60}),
        (SDXL, "middle", {2: 4, 4: 30}),
        (SDXL, "down", {2: 4, 4: 20}),
    ],
)
def test_layers_up_to_a_part(kind: dict, until: str, expected: dict[int, int]):
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**SMALL | kind)
    factors = attention_factors(unet)
    early = layers_until(unet, until)
    assert early == [layer for layer in factors if layer in set(early)], "in the order of a forward"
    found = [factors[layer] for layer in early]
    assert {factor: found.count(factor) for factor in sorted(set(found))} == expected


def test_all_where_there_are_none_so_early():
    kind = SD1 | {"down_block_types": ("DownBlock2D",) * 4}
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**SMALL | kind)
    assert layers_until(torch.nn.Linear(1, 1), "down") == []
    assert all(layers_until(unet, part) == list(attention_factors(unet)) for part in ("down", "middle", "up"))
