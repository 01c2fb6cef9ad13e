"""A UNet with the levels of Stable Diffusion 1.x, as small as can be."""

from bench.speed.models import MODELS, Shape

SMALL = Shape(
    128,
    {**MODELS["tiny"].config, "block_out_channels": (32,) * 4, "layers_per_block": 1, "attention_head_dim": 2},
)
