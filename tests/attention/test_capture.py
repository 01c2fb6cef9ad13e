"""Captured maps are the layer's own probabilities, with a gradient, at no cost to its output."""

import pytest
import torch
from torch import nn

from clora_ext.attention.capture import OnLastMap, Recorder, observed
from clora_ext.attention.levels import attention_factors
from clora_ext.attention.probability import WantedColumns, token_maps
from clora_ext.batch.context import Forward, ForwardContext
from clora_ext.batch.rows import BranchLoras, Half, Row
from clora_ext.errors import HostError
from clora_ext.lora.routing import counting_calls
from tests.toy import Attention, ToyUNet


def test_the_maps_reproduce_the_layers_output():
    layer = Attention(8, 6, heads=1).double()
    x, context = torch.randn(2, 9, 8, dtype=torch.float64), torch.randn(2, 5, 6, dtype=torch.float64)
    every = WantedColumns((0, 1), [range(5)] * 2)
    maps = token_maps(layer.to_q(x), layer.to_k(context), layer.heads, layer.scale, every)
    torch.testing.assert_close(layer.to_out(maps.transpose(1, 2) @ layer.to_v(context)), layer(x, context))
    torch.testing.assert_close(maps.sum(1), torch.ones(2, 9, dtype=torch.float64))


def test_heads_are_averaged_and_rows_choose_their_columns():
    query, key = torch.randn(2, 6, 8), torch.randn(2, 5, 8)
    found = token_maps(query, key, 2, 0.5, WantedColumns((0, 1), [(3,), (0, 4, 4)]))
    for row, columns in enumerate([(3,), (0, 4, 4)]):
        heads = [
            (query[row, :, h * 4 : h * 4 + 4] @ key[row, :, h * 4 : h * 4 + 4].T * 0.5).softmax(-1) for h in (0, 1)
        ]
        expected = ((heads[0] + heads[1]) / 2)[:, list(columns)].T
        torch.testing.assert_close(found[row, : len(columns)], expected)


@pytest.mark.parametrize("places", [(0, 1, 2), (1, 2), (0, 2)])
def test_wanted_rows_are_picked_from_a_batch(places):
    batch = torch.randn(3, 4)
    assert torch.equal(WantedColumns(places, [(0,)] * len(places)).pick(batch), batch[list(places)])


def test_half_precision_is_computed_in_float32():
    found = token_maps(torch.randn(1, 4, 8).half(), torch.randn(1, 3, 8).half(), 2, 0.5, WantedColumns((0,), [(0,)]))
    assert found.dtype == torch.float32


class _Watched:
    def __init__(self, wants=lambda row: (1, 2), graph=slice(None)):
        self.unet, self.context = ToyUNet(), ForwardContext(BranchLoras({0: (), 1: ()}))
        self.layers = list(attention_factors(self.unet))
        self.recorder = Recorder(self.context, self.layers[graph])
        self.rows, self.wants = (Row(0, 0), Row(0, 1)), wants
        self.latent, self.texts = torch.randn(2, 4, 8, 8), torch.randn(2, 7, 6)

    def run(self, grid, *, then=OnLastMap.GO_ON, latent=None, parts=(2,)):
        forward = Forward(self.rows, {row: self.wants(row) for row in self.rows})
        with (
            counting_calls(self.unet, self.context),
            observed(self.layers, self.recorder),
            self.context.running(forward),
        ):
            latent, out = self.latent if latent is None else latent, None
            with self.recorder.recording(grid, then):
                ends = torch.tensor(parts).cumsum(0).tolist()
                calls = [slice(end - part, end) for part, end in zip(parts, ends, strict=True)]
                out = torch.cat([self.unet(latent[where], self.texts[where]) for where in calls])
            return self.recorder.take(), out


def test_factors_are_read_from_the_unet():
    unet = ToyUNet()
    factors = attention_factors(unet)
    names = {layer: name for name, layer in unet.named_modules()}
    assert {names[layer]: factor for layer, factor in factors.items()} == {
        "input_blocks.1.attn2": 1, "middle_block.attn2": 2, "output_blocks.1.attn2": 1,
    }  # fmt: skip
    assert attention_factors(nn.Linear(1, 1)) == {}


def test_only_layers_of_the_wanted_size_are_averaged():
    watched = _Watched()
    fine, out = watched.run((8, 8))
    coarse, _ = watched.run((4, 4))
    assert fine[Row(0, 0)].shape == (2, 8, 8)
    assert coarse[Row(0, 1)].shape == (2, 4, 4)
    assert torch.equal(out, watched.unet(watched.latent, watched.texts))


def test_a_stopped_forward_gives_the_same_maps_and_gradient():
    watched = _Watched()
    gradients = []
    for then in (
        OnLastMap.GO_ON,
        OnLastMap.STOP,
        OnLastMap.DETACH,
    ):  # the first, whole forward teaches which layer is the last
        leaf = watched.latent.clone().requires_grad_()
        maps, out = watched.run((4, 4), then=then, latent=leaf)
        assert (out is None) == (then is OnLastMap.STOP)
        assert out is None or out.requires_grad == (then is OnLastMap.GO_ON)
        gradients.append(torch.autograd.grad(maps[Row(0, 0)].square().sum(), leaf)[0])
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], gradients[2])
    assert gradients[0].abs().max() > 0


@pytest.mark.parametrize("then", [OnLastMap.STOP, OnLastMap.DETACH, OnLastMap.STOP_GRAPH])
def test_a_gradient_goes_through_the_early_maps_alone(then):
    """Of the layers of 8x8, one early and one late, the late one counts in the maps and is a constant to the graph."""
    watched = _Watched(graph=slice(1))
    whole, _ = watched.run((8, 8), latent=watched.latent.clone().requires_grad_())
    alone = _Watched()
    alone.unet, alone.layers, alone.texts = watched.unet, watched.layers[:1], watched.texts
    leaf = watched.latent.clone().requires_grad_()
    early, _ = alone.run((8, 8), latent=leaf)
    ask = {row: torch.randn_like(maps) for row, maps in whole.items()}
    rows = list(ask)
    expected = torch.autograd.grad([early[row] / 2 for row in rows], leaf, [ask[row] for row in rows])[0]
    leaf = watched.latent.clone().requires_grad_()
    maps, out = watched.run((8, 8), then=then, latent=leaf)
    found = torch.autograd.grad([maps[row] for row in rows], leaf, [ask[row] for row in rows])[0]
    torch.testing.assert_close(found, expected)
    for row in rows:
        torch.testing.assert_close(maps[row], early[row] / 2 if then is OnLastMap.STOP_GRAPH else whole[row])
    assert (out is None) == (then is not OnLastMap.DETACH)
    assert out is None or not out.requires_grad


def test_a_split_batch_gives_the_same_maps():
    watched = _Watched()
    whole, _ = watched.run((8, 8))
    split, _ = watched.run((8, 8), parts=(1, 1))
    torch.testing.assert_close(whole[Row(0, 1)], split[Row(0, 1)])


def test_rows_that_want_nothing_are_not_recorded():
    watched = _Watched(lambda row: (0,) if row.branch else ())
    assert list(watched.run((8, 8))[0]) == [Row(0, 1)]
    assert Row(0, 0, Half.UNCOND) not in watched.run((8, 8))[0]


def test_a_size_without_layers_is_an_error():
    with pytest.raises(HostError, match="7x7"):
        _Watched().run((7, 7))


def test_a_changed_batch_is_an_error():
    watched = _Watched()
    watched.rows = (Row(0, 0),)
    with pytest.raises(RuntimeError):
        watched.run((8, 8))


def test_hooks_go_away_and_see_nothing_outside():
    watched = _Watched()
    with observed(watched.layers, watched.recorder):
        watched.unet(watched.latent, watched.texts)
    assert all(not module._forward_hooks for module in watched.unet.modules())
