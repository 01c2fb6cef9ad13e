"""Every kind of LoRA on some rows equals its weights merged there, and what is no LoRA is told in words."""

import copy

import pytest
import torch
from torch import Tensor, nn

from clora_ext.batch.rows import Row
from clora_ext.lora.assignment import RowAssignment
from clora_ext.lora.deltas import LowRank
from clora_ext.lora.kinds import MisfitError, PartsError, delta_of_parts, fitting_kind
from clora_ext.lora.routing import LayerDeltas
from tests.lora.obvious_kinds import IN, OUT, cases
from tests.lora.shares import RowShares, added

torch.manual_seed(0)
CASES = cases()
LOW_RANK = ("LoRA", "LoRA without alpha", "LoRA, 1x1 for a linear layer", "LoRA, linear for a 1x1")
FACTORS = {*LOW_RANK, "LoCon", "LoCon, Tucker"}
"""What is added as two factors, and needs no weight of its own."""


def _layer(shape: tuple[int, ...], kind: str = "") -> tuple[nn.Module, Tensor]:
    """A layer with a weight of that shape, and an input of four rows."""
    if len(shape) == 1:
        if kind == "layer norm":
            return nn.LayerNorm(IN), torch.randn(4, 5, IN)
        return nn.GroupNorm(2, IN), torch.randn(4, IN, 5, 5)
    if len(shape) == 2:
        return nn.Linear(IN, OUT), torch.randn(4, 5, IN)
    return nn.Conv2d(IN, OUT, shape[2:], padding=shape[2] // 2), torch.randn(4, IN, 6, 5)


def _check(name: str, layer: nn.Module, x: Tensor) -> None:
    parts, _, obvious = CASES[name]
    merged = copy.deepcopy(layer)
    with torch.no_grad():
        merged.weight += 0.7 * obvious(parts, layer.weight)
        for bias in ("b_norm", "diff_b"):
            if bias in parts:
                merged.bias += 0.7 * parts[bias]
        delta = delta_of_parts(parts, layer.weight, 0.7)
        rows = [Row(0, branch) for branch in range(4)]
        assignment = RowAssignment(rows, RowShares([{}, {"A": 1.0}, {}, {"A": 1.0}]), by_pixel=False)
        plain = layer(x)
        found = LayerDeltas(layer, {"A": delta}, torch.device("cpu"), torch.float32)
        out = added(found, x, assignment)
    assert isinstance(delta, LowRank) == (name in FACTORS)
    torch.testing.assert_close(out[[1, 3]], merged(x)[[1, 3]], rtol=1e-4, atol=1e-4)
    assert torch.equal(out[[0, 2]], plain[[0, 2]])
    assert (out[1] - plain[1]).abs().max() > 0.01


@pytest.mark.parametrize("name", CASES)
def test_rows_with_it_are_drawn_as_with_merged_weights(name: str):
    _check(name, *_layer(CASES[name][1]))


def test_a_layer_norm_too():
    _check("norm", *_layer((IN,), "layer norm"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_it_is_worked_out_in_single_precision(name: str, dtype: torch.dtype):
    parts, shape, _ = CASES[name]
    short = {key: part.to(dtype) if part.is_floating_point() else part for key, part in parts.items()}
    layer, x = _layer(shape)
    with torch.no_grad():
        found = delta_of_parts(short, layer.weight.to(dtype), 1.0)(layer, x)
    assert found.dtype == torch.float32
    assert found.isfinite().all()


@pytest.mark.parametrize("name", CASES)
def test_other_sizes_are_told_without_computing(name: str):
    parts, shape, _ = CASES[name]
    assert fitting_kind({key: _sizes_only(part) for key, part in parts.items()}, shape)
    wrong = (*(3 * size + 1 for size in shape[:2]), *shape[2:])
    with pytest.raises(MisfitError, match=f"checkpoint's.*{wrong[0]}"):
        delta_of_parts(parts, torch.zeros(wrong), 1.0)


def _sizes_only(part: Tensor) -> Tensor:
    return part if part.numel() == 1 else part.to("meta")


REQUIRED = {
    "lora_down.weight",
    "lora_up.weight",
    "weight",
    "on_input",
    *(f"{n}.weight" for n in ("a1", "a2", "b1", "b2")),
}
REQUIRED |= {f"{kind}_w{n}{side}" for kind in ("hada", "lokr") for n in (1, 2) for side in ("", "_a", "_b")}


@pytest.mark.parametrize("name", [name for name in CASES if REQUIRED & set(CASES[name][0])])
def test_half_of_a_layer_is_told_by_name(name: str):
    parts, shape, _ = CASES[name]
    for gone in REQUIRED & set(parts):
        rest = {key: part for key, part in parts.items() if key not in {gone, "diff_b"}}
        with pytest.raises(PartsError, match=r"^has .*, but no .*"):
            fitting_kind(rest, shape)


def test_parts_that_nobody_knows_are_named():
    with pytest.raises(PartsError, match=r"is of no kind that is known \(poly_a, poly_b\)"):
        fitting_kind({"poly_a": torch.zeros(2), "poly_b": torch.zeros(2)}, (2, 2))
    parts = {"lora_down.weight": torch.zeros(1, 4), "lora_up.weight": torch.zeros(4, 1), "poly": torch.zeros(1)}
    with pytest.raises(PartsError, match=r"parts that are not known \(poly\)"):
        fitting_kind(parts, (4, 4))


def test_a_bias_of_another_length_is_told():
    with pytest.raises(MisfitError, match=r"a bias of 3 numbers, and the checkpoint's has 4"):
        fitting_kind({"diff": torch.zeros(4, 4), "diff_b": torch.zeros(3)}, (4, 4))


def test_an_inpainting_convolution_may_have_more_inputs():
    parts = CASES["LoCon"][0]
    layer = nn.Conv2d(IN + 5, OUT, 3, padding=1)
    x = torch.randn(2, IN + 5, 5, 5)
    found = delta_of_parts(parts, layer.weight, 1.0)(layer, x)
    known = nn.functional.conv2d(x[:, :IN], CASES["LoCon"][2](parts, torch.zeros(OUT, IN, 3, 3)), padding=1)
    torch.testing.assert_close(found, known, rtol=1e-4, atol=1e-4)
