"""The layers of WebUI's model by kohya's names; OpenCLIP's attention as four of them, with the same numbers."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from clora_ext.errors import HostError
from clora_ext.hosts.webui.merge.attention import SplitAttention
from clora_ext.hosts.webui.merge.layers import model_layers

WIDTH, TOKENS, TEXTS = 16, 7, 3
MASK = torch.full((TOKENS, TOKENS), -torch.inf).triu(1)


@pytest.fixture
def whole() -> nn.MultiheadAttention:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(WIDTH, 4).eval()
    nn.init.normal_(made.in_proj_bias)
    nn.init.normal_(made.out_proj.bias)
    return made.requires_grad_(False)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(TOKENS, TEXTS, WIDTH, generator=torch.Generator().manual_seed(1))


def called(whole: nn.MultiheadAttention, x: Tensor, mask: Tensor | None = MASK) -> Tensor:
    """As open_clip calls it."""
    return whole(x, x, x, need_weights=False, attn_mask=mask)[0]


@pytest.mark.parametrize("mask", [MASK, None], ids=["causal", "open"])
def test_split_it_gives_the_same(whole: nn.MultiheadAttention, x: Tensor, mask: Tensor | None):
    expected = called(whole, x, mask)
    with SplitAttention(whole).split():
        torch.testing.assert_close(called(whole, x, mask), expected, rtol=1e-5, atol=1e-6)
    assert "forward" not in vars(whole)
    assert torch.equal(called(whole, x, mask), expected)


def test_a_layer_changed_by_a_hook_is_a_projection_changed_in_the_weights(whole: nn.MultiheadAttention, x: Tensor):
    parts = SplitAttention(whole)
    deltas = {name: 0.1 * torch.randn(WIDTH, WIDTH) for name in parts.layers}
    seen: dict[str, Tensor] = {}

    def hook_for(name: str):
        def hook(layer: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
            seen[name] = args[0]
            return output + args[0] @ deltas[name].T

        return hook

    handles = [layer.register_forward_hook(hook_for(name)) for name, layer in parts.layers.items()]
    with parts.split():
        found = called(whole, x)
    for handle in handles:
        handle.remove()
    whole.in_proj_weight += torch.cat([deltas[f"{side}_proj"] for side in "qkv"])
    whole.out_proj.weight += deltas["out_proj"]
    torch.testing.assert_close(found, called(whole, x), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(seen[f"{side}_proj"], x) for side in "qkv")
    assert seen["out_proj"].shape == x.shape


def test_its_layers_follow_weights_that_the_host_has_moved(whole: nn.MultiheadAttention, x: Tensor):
    parts = SplitAttention(whole)
    for name in ("in_proj_weight", "in_proj_bias"):
        getattr(whole, name).data = getattr(whole, name).data.clone() * 2.0  # as a move to another device makes it anew
    expected = called(whole, x)
    with parts.split():
        torch.testing.assert_close(called(whole, x), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(parts.layers["k_proj"].weight, whole.in_proj_weight[WIDTH : 2 * WIDTH])


# -- a whole model -----------------------------------------------------------------------------------------------------


def model(encoder: nn.Module, channels: int = 4) -> SimpleNamespace:
    """What is asked of WebUI's model of Stable Diffusion 1.x or 2.x."""
    unet = nn.Module()
    unet.in_channels = channels
    unet.input_blocks = nn.ModuleList(
        [nn.Sequential(nn.Conv2d(channels, 8, 3)), nn.Sequential(nn.Module(), nn.Linear(8, 8))]
    )
    unet.time_embed = nn.Sequential(nn.Linear(8, 8))
    wrapper = SimpleNamespace(wrapped=encoder)
    return SimpleNamespace(is_sdxl=False, cond_stage_model=wrapper, model=SimpleNamespace(diffusion_model=unet))


def open_clip(blocks: int) -> nn.Module:
    """A text encoder as ldm wraps it, which leaves the last block out."""
    encoder = nn.Module()
    encoder.layer_idx = 1
    encoder.model = nn.Module()
    encoder.model.transformer = nn.Module()
    encoder.model.transformer.resblocks = nn.ModuleList(block() for _ in range(blocks))
    return encoder


def block() -> nn.Module:
    made = nn.Module()
    made.attn, made.ln_1 = nn.MultiheadAttention(WIDTH, 4), nn.LayerNorm(WIDTH)
    made.mlp = nn.ModuleDict({"c_fc": nn.Linear(WIDTH, 4 * WIDTH), "c_proj": nn.Linear(4 * WIDTH, WIDTH)})
    return made


def test_open_clips_layers_have_the_names_of_clips():
    found = model_layers(model(open_clip(2)))
    inner = ("mlp_fc1", "mlp_fc2", *(f"self_attn_{side}_proj" for side in ("k", "out", "q", "v")))
    expected = [f"lora_te_text_model_encoder_layers_0_{each}" for each in inner]
    assert sorted(found.tokens_first) == expected
    assert {name for name in found.modules if name.startswith("lora_te")} == set(expected)
    assert len(found.attentions) == 1


def test_layers_of_the_unet_are_called_as_diffusers_calls_them():
    found = model_layers(model(open_clip(1))).modules
    assert set(found) == {
        "lora_unet_conv_in", "lora_unet_time_embedding_linear_1", "lora_unet_down_blocks_0_attentions_0",
    }  # fmt: skip


def test_an_inpainting_models_first_convolution_is_none_of_a_loras():
    assert "lora_unet_conv_in" not in model_layers(model(open_clip(1), channels=9)).modules


def test_another_kind_of_text_encoder_is_refused():
    with pytest.raises(HostError, match="read texts by CLIP or OpenCLIP"):
        model_layers(model(nn.Linear(1, 1)))
