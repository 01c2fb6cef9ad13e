"""Stacked factors against one LoRA after the other on one row after the other."""

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import BranchLoras, Half, Row
from clora_ext.lora.assignment import RowAssignment
from clora_ext.lora.bound import NARROW, bound
from clora_ext.lora.deltas import LowRank
from clora_ext.lora.passes import equal_runs
from clora_ext.lora.routing import LayerDeltas
from clora_ext.lora.stacks import Stack
from tests.lora.shares import RowShares, added

CPU = torch.device("cpu")
SHARES = st.sampled_from([0.0, 0.5, 1.0])


def _loras(ranks: list[int], seed: int = 0) -> dict[str, LowRank]:
    generator = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return {f"L{n}": LowRank(random(rank, 6), random(8, rank), 0.3 + n) for n, rank in enumerate(ranks)}


def _x(samples: int) -> torch.Tensor:
    return torch.randn(samples, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _layer() -> nn.Linear:
    torch.manual_seed(3)
    return nn.Linear(6, 8).double().requires_grad_(False)


def _slow(layer, loras, x, worn, parts):
    out = []
    for sample, shares in zip(x, chain.from_iterable([shares] * parts for shares in worn), strict=True):
        one = layer(sample)
        for name, share in shares.items():
            one = one + share * loras[name](layer, sample)
        out.append(one)
    return torch.stack(out)


def _fast(layer, loras, x, worn, way="bound"):
    changed = LayerDeltas(layer, loras, CPU, torch.float64)
    return added(changed, x, _assigned(worn), way=way)


def _assigned(worn):
    rows = tuple(Row(0, branch) for branch in range(len(worn)))
    return RowAssignment(rows, RowShares(worn), by_pixel=False)


@pytest.mark.parametrize("way", ["bound", "obvious"])
@given(
    ranks=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    worn=st.lists(st.dictionaries(st.sampled_from(["L0", "L1", "L2"]), SHARES), min_size=1, max_size=6),
    parts=st.integers(1, 2),
    graph=st.booleans(),
)
def test_rows_have_what_they_are_told_whatever_the_ranks(ranks, worn, parts, graph, way):
    layer, loras, x = _layer(), _loras(ranks), _x(len(worn) * parts).requires_grad_(graph)
    worn = [{name: share for name, share in row.items() if name in loras} for row in worn]
    out, expected = _fast(layer, loras, x, worn, way), _slow(layer, loras, x, worn, parts)
    torch.testing.assert_close(out, expected)
    if graph:
        gradients = [torch.autograd.grad(found.square().sum(), x)[0] for found in (out, expected)]
        torch.testing.assert_close(*gradients)


def test_rows_without_a_lora_keep_every_bit():
    layer, x = _layer(), _x(4)
    out = _fast(layer, _loras([2, 2]), x, [{}, {"L0": 1.0}, {}, {"L1": 1.0}])
    assert torch.equal(out[[0, 2]], layer(x)[[0, 2]])


@pytest.mark.parametrize(
    ("worn", "found"),
    [
        (["", "A", "B"], [(slice(1, 3), 1, slice(1, 3))]),  # the base and its branches
        (["A", "A", "B", "B"], [(slice(0, 4), 2, slice(1, 3))]),  # both halves of each region
        (["", "A", "B", "A", "B", ""], [(slice(1, 3), 1, slice(1, 3)), (slice(3, 5), 1, slice(1, 3))]),  # a whole batch
        (["B"] * 4, [(slice(0, 4), 4, slice(2, 3))]),  # a style on all
        (["", ""], []),
    ],
)
def test_factors_are_views_of_the_stack(worn, found):
    loras = dict(zip("AB", _loras([2, 2]).values(), strict=True))
    passes = Stack(_layer(), loras, CPU, torch.float64).passes([{name: 1.0} if name else {} for name in worn])
    assert [[(one.rows, one.each, one.loras) for one in products] for products in passes] == ([found] if found else [])


def test_a_graph_has_one_product_for_the_base_and_its_branches():
    (products,) = Stack(_layer(), _loras([2, 2]), CPU, torch.float64).passes([{}, {"L0": 1.0}, {"L1": 1.0}], graph=True)
    (product,) = products
    assert (product.rows, product.loras, product.scale) == (slice(0, 3), slice(0, 3), 1.0)


def test_equal_runs_are_runs_of_one_value():
    assert equal_runs([0.0, 1.0, 1.0, 0.5, 0.0, 0.5]) == [
        (slice(1, 3), 1.0), (slice(3, 4), 0.5), (slice(5, 6), 0.5),
    ]  # fmt: skip
    assert equal_runs([]) == []


LAYERS = {
    "linear": (nn.Linear(6, 8), (16, 6)),
    "pointwise": (nn.Conv2d(6, 8, 1), (6, 4, 4)),
    "convolution": (nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular"), (6, 4, 4)),
    "channels last": (nn.Conv2d(6, 8, 1).to(memory_format=torch.channels_last), (6, 4, 4)),
}
MIXED = (Row(0, 1), Row(0, 0, Half.COND, routed=True), Row(0, 0, Half.UNCOND, routed=True), Row(0, 2, Half.UNCOND))


def _some(name: str, rows: int):
    """A layer of that kind, and an input for it."""
    layer, shape = LAYERS[name]
    x = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    if name == "channels last":
        x = x.to(memory_format=torch.channels_last)
    return layer.double().requires_grad_(False), x


def _loras_of(layer, ranks):
    generator = torch.Generator().manual_seed(5)
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    ones = [1] * (layer.weight.dim() - 2)
    return {
        f"L{n}": LowRank(random(rank, *layer.weight.shape[1:]), random(8, rank, *ones), 0.3 + n)
        for n, rank in enumerate(ranks)
    }


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("ranks", [[2, 2], [1, 3], [NARROW // 2 + 1] * 2])
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("way", ["bound", "obvious"])
def test_pixels_have_their_own_lora(name, ranks, graph, way):
    """Two routed rows between two that are rows like any other."""
    layer, x = _some(name, 4)
    loras, x = _loras_of(layer, ranks), x.requires_grad_(graph)
    weights = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64).softmax(dim=0)
    loras_by_branch = BranchLoras({0: (), 1: ("L0",), 2: ("L1",)}, uncond=0.5)
    regions = RegionPyramid({0: weights}, loras_by_branch, (4, 4))
    assignment = RowAssignment(MIXED, loras_by_branch, by_pixel=True)
    out = added(LayerDeltas(layer, loras, CPU, torch.float64), x, assignment, regions, way=way)
    share = weights if x.dim() == 4 else weights.flatten(1)[..., None]
    alone = lambda lora, of: loras[lora](layer, of[None])[0]  # noqa: E731
    both = lambda of: share[1] * alone("L0", of) + share[2] * alone("L1", of)  # noqa: E731
    own = layer(x)
    expected = torch.stack([
        own[0] + alone("L0", x[0]),
        own[1] + both(x[1]),
        own[2] + 0.5 * both(x[2]),
        own[3] + 0.5 * alone("L1", x[3]),
    ])  # fmt: skip
    torch.testing.assert_close(out, expected)
    if graph:
        gradients = [torch.autograd.grad(found.square().sum(), x)[0] for found in (out, expected)]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("ranks", [[2, 2], [1, 3]])
@pytest.mark.parametrize("graph", [False, True])
def test_no_kind_of_layer_goes_lora_by_lora(name, ranks, graph, monkeypatch):
    """Rows with no, one and both LoRAs; also beside routed ones."""
    layer, x = _some(name, 4)
    changed = LayerDeltas(layer, _loras_of(layer, ranks), CPU, torch.float64)
    worn = [{}, {"L0": 1.0}, {"L0": 0.5, "L1": 1.0}, {"L1": 0.25}]
    expected = added(changed, x, _assigned(worn), way="obvious")
    monkeypatch.setattr(LayerDeltas, "add", None)
    with torch.set_grad_enabled(graph):
        torch.testing.assert_close(added(changed, x, _assigned(worn)), expected)


def test_wide_stacks_of_different_ranks_go_lora_by_lora():
    layer, x = _layer(), _x(2)
    stack = Stack(layer, _loras([NARROW, 1]), CPU, torch.float64)
    assert bound(stack, _assigned([{"L0": 1.0}, {"L1": 1.0}]), x, layer(x), None) is None


@pytest.mark.parametrize("other", ["size", "kind", "input", "graph", "layout", "rows"])
def test_a_program_is_not_run_on_what_it_was_not_bound_for(other):
    layer, x = _some("channels last", 2)
    x, output = x.contiguous(), layer(x).contiguous()
    changed = LayerDeltas(layer, _loras_of(layer, [2, 2]), CPU, torch.float64)
    program = changed.bind(_assigned([{}, {"L0": 1.0}]), x, output, None)
    assert program.holds(x, output)
    with torch.set_grad_enabled(torch.is_grad_enabled() != (other == "graph")):
        match other:
            case "size":
                output = output[..., :2].contiguous()
            case "kind":
                output = output.float()
            case "input":
                x = x.float()
            case "layout":
                output = output.to(memory_format=torch.channels_last)
            case "rows":
                output = output[:1]
        assert not program.holds(x, output)


def test_factors_follow_the_output_into_half_precision():
    """Autocast over whole weights: the layer's input is whole, its output half."""
    layer, loras, x = _layer().float(), _loras([2, 2]), _x(2).float()
    changed = LayerDeltas(layer, loras, CPU, torch.float32)
    rows = (Row(0, 0), Row(0, 1))
    assignment = RowAssignment(rows, BranchLoras({0: ("L0",), 1: ("L1",)}), by_pixel=False)
    with torch.autocast("cpu", torch.bfloat16):
        out = added(changed, x, assignment)
    assert out.dtype == torch.bfloat16
    whole = _slow(layer.double(), loras, x.double(), [{"L0": 1.0}, {"L1": 1.0}], 1)
    torch.testing.assert_close(out.double(), whole, rtol=0.05, atol=0.1)
