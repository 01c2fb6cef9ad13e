"""LoRA deltas on rows equal merged weights on those rows, and nothing elsewhere."""

import copy

import pytest
import torch
from torch import Tensor, nn

from clora_ext.batch.context import Forward, ForwardContext
from clora_ext.batch.rows import BranchLoras, Half, Row
from clora_ext.lora.assignment import RowAssignment
from clora_ext.lora.deltas import DenseDelta, LowRank
from clora_ext.lora.routing import LayerDeltas, counting_calls, layer_deltas, loras_on_rows
from tests.lora.shares import RowShares, added

torch.manual_seed(0)
CPU = torch.device("cpu")
LAYERS: dict[str, tuple[nn.Module, Tensor]] = {
    "linear": (nn.Linear(6, 8), torch.randn(4, 5, 6)),
    "conv3": (nn.Conv2d(6, 8, 3, stride=2, padding=1), torch.randn(4, 6, 7, 9)),
    "conv1": (nn.Conv2d(6, 8, 1), torch.randn(4, 6, 5, 5)),
    "circular": (nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular"), torch.randn(4, 6, 6, 6)),
    "group norm": (nn.GroupNorm(2, 6), torch.randn(4, 6, 5, 5)),
    "layer norm": (nn.LayerNorm(6), torch.randn(4, 5, 6)),
}


def _merged(layer: nn.Module, weight: Tensor | None, bias: Tensor | None) -> nn.Module:
    merged = copy.deepcopy(layer)
    with torch.no_grad():
        if weight is not None:
            merged.weight += weight.reshape(merged.weight.shape)
        if bias is not None:
            merged.bias += bias
    return merged


def _added(layer: nn.Module, x: Tensor, delta: object, shares: list[float]) -> Tensor:
    """The layer's output for rows that have so much of one LoRA."""
    rows = [Row(0, branch) for branch in range(len(shares))]
    assignment = RowAssignment(rows, RowShares([{"A": share} for share in shares]), by_pixel=False)
    return added(LayerDeltas(layer, {"A": delta}, CPU, torch.float32), x, assignment)


def _called(
    layer: nn.Module, deltas: dict[str, dict[nn.Module, object]], loras: BranchLoras, inputs: list[Tensor]
) -> Tensor:
    """What the layer gives for rows of branches 0, 1 ... in calls of some of them."""
    context, net = ForwardContext(loras), nn.Sequential(layer)
    rows = tuple(Row(0, branch) for branch in range(sum(map(len, inputs))))
    layers = layer_deltas(deltas, CPU, torch.float32)
    with counting_calls(net, context), loras_on_rows(layers, context), context.running(Forward(rows)):
        return torch.cat([net(x) for x in inputs])


def _routed(layer: nn.Module, delta: object, x: Tensor, chosen: list[int]) -> Tensor:
    loras = BranchLoras({branch: ("A",) if branch in chosen else () for branch in range(len(x))})
    return _called(layer, {"A": {layer: delta}}, loras, [x])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("with_bias", [True, False])
def test_full_deltas_equal_merged_weights_on_their_rows_only(name: str, with_bias: bool):
    layer, x = LAYERS[name]
    weight = torch.randn_like(layer.weight)
    bias = torch.randn_like(layer.bias) if with_bias else None
    out = _routed(layer, DenseDelta(weight, bias), x, [1, 3])
    torch.testing.assert_close(out[[1, 3]], _merged(layer, weight, bias)(x)[[1, 3]])
    assert torch.equal(out[[0, 2]], layer(x)[[0, 2]])


@pytest.mark.parametrize("name", LAYERS)
def test_a_bias_only(name: str):
    layer, x = LAYERS[name]
    bias = torch.randn_like(layer.bias)
    out = _routed(layer, DenseDelta(None, bias), x, [0])
    torch.testing.assert_close(out[:1], _merged(layer, None, bias)(x)[:1])


@pytest.mark.parametrize("name", ["linear", "conv3", "conv1", "circular"])
def test_low_rank_factors_equal_merged_weights(name: str):
    layer, x = LAYERS[name]
    kernel = layer.weight.shape[2:]
    down, up = torch.randn(2, 6, *kernel), torch.randn(8, 2, *[1] * len(kernel))
    weight = 0.3 * (up.flatten(1) @ down.flatten(1))
    out = _routed(layer, LowRank(down, up, 0.3), x, [0, 1])
    torch.testing.assert_close(out[:2], _merged(layer, weight, None)(x)[:2], rtol=1e-4, atol=1e-5)
    assert torch.equal(out[2:], layer(x)[2:])


def test_an_inpainting_convolution_has_more_inputs_than_the_lora_knows():
    layer, x = nn.Conv2d(9, 8, 3, padding=1), torch.randn(2, 9, 5, 5)
    weight = torch.randn(8, 4, 3, 3)
    out = _added(layer, x, LowRank(weight.flatten(1), torch.eye(8), 1.0), [1.0, 1.0])
    known = nn.functional.conv2d(x[:, :4], weight, padding=1)
    torch.testing.assert_close(out, layer(x) + known, rtol=1e-4, atol=1e-4)


def test_several_loras_on_overlapping_rows_add_up():
    layer, x = LAYERS["linear"]
    one, two = DenseDelta(torch.randn(8, 6)), DenseDelta(torch.randn(8, 6))
    loras = BranchLoras({0: (), 1: ("A",), 2: ("A", "B"), 3: ("B",)})
    out = _called(layer, {"A": {layer: one}, "B": {layer: two}}, loras, [x])
    plain, a, b = layer(x), one(layer, x), two(layer, x)
    torch.testing.assert_close(out, torch.stack([plain[0], (plain + a)[1], (plain + a + b)[2], (plain + b)[3]]))


def test_rows_have_as_much_of_a_lora_as_they_are_told():
    layer, x = LAYERS["linear"]
    for delta in (DenseDelta(torch.randn(8, 6)), LowRank(torch.randn(2, 6), torch.randn(8, 2), 0.7)):
        out = _added(layer, x, delta, [1.0, 0.25, 0.0, 0.5])
        shares = torch.tensor([1.0, 0.25, 0.0, 0.5])[:, None, None]
        torch.testing.assert_close(out, layer(x) + shares * delta(layer, x))


def test_gradients_reach_the_input_through_the_chosen_rows():
    layer, x = LAYERS["linear"]
    leaf = x.clone().requires_grad_()
    delta = DenseDelta(torch.randn(8, 6))
    _routed(layer, delta, leaf, [2]).sum().backward()
    expected = layer.weight.sum(0).expand(4, 5, 6).clone()
    expected[2] += delta.weight.sum(0)
    torch.testing.assert_close(leaf.grad, expected)


def test_a_split_batch_and_tiles_find_their_rows():
    layer, x = LAYERS["linear"]
    delta = DenseDelta(torch.randn(8, 6))
    loras = BranchLoras({0: (), 1: (), 2: (), 3: ("A",)})
    out = _called(layer, {"A": {layer: delta}}, loras, [x[:2], x[2:]])
    torch.testing.assert_close(out[3], (layer(x) + delta(layer, x))[3])
    assert torch.equal(out[:3], layer(x)[:3])
    for delta in (delta, LowRank(torch.randn(2, 6), torch.randn(8, 2), 0.7)):  # noqa: B020
        tiled = _added(layer, x, delta, [0.0, 1.0])  # two rows of two tiles each
        assert torch.equal(tiled[:2], layer(x)[:2])
        torch.testing.assert_close(tiled[2:], (layer(x) + delta(layer, x))[2:])
    with pytest.raises(RuntimeError, match="another extension"):
        _added(layer, x, delta, [1.0] * 3)


def test_outside_a_forward_nothing_changes_and_hooks_go_away():
    layer, x = LAYERS["linear"]
    context, net = ForwardContext(BranchLoras({0: ("A",)})), nn.Sequential(layer)
    layers = layer_deltas({"A": {layer: DenseDelta(torch.ones(8, 6))}}, CPU, torch.float32)
    with counting_calls(net, context), loras_on_rows(layers, context):
        assert torch.equal(net(x), layer(x))
        assert len(layer._forward_hooks) == 1
    assert not layer._forward_hooks
    assert not net._forward_pre_hooks


def test_keyword_calls_are_counted():
    class Named(nn.Module):
        def forward(self, sample: Tensor) -> Tensor:
            return sample

    context, net = ForwardContext(BranchLoras({0: ()})), Named()
    rows = (Row(0, 0, Half.COND), Row(0, 0, Half.UNCOND))
    with counting_calls(net, context), context.running(Forward(rows)):
        net(sample=torch.zeros(2, 1))
        assert context.rows_seen == 2


def test_deltas_move_to_a_device_and_type():
    moved = LowRank(torch.ones(1, 2), torch.ones(2, 1), 1.0).to(torch.device("cpu"), torch.float64)
    assert moved.down.dtype == torch.float64
    full = DenseDelta(None, torch.ones(2)).to(torch.device("cpu"), torch.float64)
    assert full.weight is None
    assert full.bias.dtype == torch.float64
