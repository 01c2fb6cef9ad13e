"""OpenCLIP's attention as four layers: the same numbers, and hooks that see each of them."""

import pytest
import torch
from torch import Tensor, nn

from clora_ext.hosts.webui.merge.attention import SplitAttention

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
