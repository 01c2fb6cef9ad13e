"""Layers that are given the same tensor share the product down, and give what they would by themselves."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import BranchLoras, Half, Row
from clora_ext.lora.assignment import RowAssignment
from clora_ext.lora.deltas import LowRank
from clora_ext.lora.routing import layer_deltas
from clora_ext.lora.siblings import self_attention_inputs
from tests.lora.shares import added
from tests.toy import ToyUNet

LORAS = BranchLoras({0: (), 1: ("L0",), 2: ("L1",)}, uncond=0.5)
ROWS = (Row(0, 0, Half.COND, routed=True), Row(0, 2, Half.UNCOND))


def _layers(ranks: tuple[int, ...] = (2, 2), dtype: torch.dtype = torch.float64):
    """Three layers of one input with two LoRAs, joined and each by itself, and an input."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8).to(dtype).requires_grad_(False) for _ in range(3)]
    deltas = {
        f"L{n}": {layer: LowRank(torch.randn(rank, 6), torch.randn(8, rank), 0.3) for layer in layers}
        for n, rank in enumerate(ranks)
    }
    device = torch.device("cpu")
    return layer_deltas(deltas, device, dtype, [layers]), layer_deltas(deltas, device, dtype), torch.randn(2, 16, 6)


def _regions() -> RegionPyramid:
    weights = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64).softmax(dim=0)
    return RegionPyramid({0: weights}, LORAS, (4, 4))


@pytest.mark.parametrize("ranks", [(2, 2), (1, 3)])
@pytest.mark.parametrize("graph", [False, True])
def test_siblings_give_what_they_would_alone(ranks, graph):
    together, alone, x = _layers(ranks)
    x, rows, regions = x.double().requires_grad_(graph), RowAssignment(ROWS, LORAS, by_pixel=True), _regions()
    found, expected = (
        torch.stack([added(layer, x, rows, regions) for layer in layers]) for layers in (together, alone)
    )
    torch.testing.assert_close(found, expected)
    if graph:
        gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in (found, expected)]
        torch.testing.assert_close(*gradients)


def test_a_stranger_to_the_input_works_its_own_part_out():
    together, alone, x = _layers()
    rows, regions = RowAssignment(ROWS, LORAS, by_pixel=True), _regions()
    inputs = [x.double(), x.double() + 1.0, x.double()]
    for ours, theirs, given in zip(together, alone, inputs, strict=True):
        torch.testing.assert_close(added(ours, given, rows, regions), added(theirs, given, rows, regions))
    siblings = together[0].stack.siblings
    assert siblings._given is None  # no activation is held


def test_factors_are_held_once_also_after_a_move():
    together, _, x = _layers(dtype=torch.float32)
    stacks = [layer.stack for layer in together]
    rows = RowAssignment(ROWS, LORAS, by_pixel=True)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            added(together[1], x, rows, _regions())
        assert {stack.down.dtype for stack in stacks} == {dtype}
        assert len({stack.down.untyped_storage().data_ptr() for stack in stacks}) == 1
        starts = [stack.down.storage_offset() for stack in stacks]
        assert all(after - before == stacks[0].down.numel() for before, after in pairwise(starts))


def test_layers_of_other_loras_stay_by_themselves():
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8) for _ in range(2)]
    factors = {layer: LowRank(torch.randn(2, 6), torch.randn(8, 2), 0.3) for layer in layers}
    deltas = {"L0": factors, "L1": {layers[0]: factors[layers[0]]}}
    found = layer_deltas(deltas, torch.device("cpu"), torch.float32, [layers])
    assert [each.stack.siblings for each in found] == [None, None]


def test_the_inputs_of_self_attention_are_found():
    unet = ToyUNet()
    assert [len(layers) for layers in self_attention_inputs(unet)] == [3, 3, 3]
    first = unet.input_blocks[1].attn1
    assert self_attention_inputs(unet)[0] == (first.to_q, first.to_k, first.to_v)
