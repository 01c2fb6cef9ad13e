"""Cross-attention factors of the UNets of diffusers, whose blocks run in another order than they are registered."""

import pytest
import torch

from clora_ext.attention.levels import attention_factors

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
