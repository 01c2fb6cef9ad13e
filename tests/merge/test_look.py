"""Which LoRAs get in each other's way is told from their files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from clora_ext.merge.inputs import Ingredient, MergeLora, read_ingredients
from clora_ext.merge.look import Disturbance, disturbances
from clora_ext.merge.run import Stage

TEXT, CROSS, PICTURE = "lora_te_x", "lora_unet_x_attn2_to_k", "lora_unet_x_attn1_to_q"
WIDTH = 64


def _lora(folder: Path, name: str, ratio: float = 1.0, **layers: Tensor) -> MergeLora:
    """Whole differences by layer."""
    path = folder / f"{name}.safetensors"
    save_file({f"{layer}.diff": matrix.clone() for layer, matrix in layers.items()}, str(path))
    (read,) = read_ingredients([Ingredient(path, ratio)])
    return read


def _low_rank(folder: Path, name: str, layer: str, up: Tensor, down: Tensor) -> MergeLora:
    path = folder / f"{name}.safetensors"
    parts = {"lora_up.weight": up.contiguous(), "lora_down.weight": down.contiguous()}
    save_file({f"{layer}.{part}": tensor for part, tensor in parts.items()}, str(path))
    (read,) = read_ingredients([Ingredient(path)])
    return read


def _random(seed: int, rows: slice = slice(None), rank: int = 3) -> tuple[Tensor, Tensor]:
    """Factors up and down that read some of the inputs."""
    generator = torch.Generator().manual_seed(seed)
    down = torch.zeros(rank, WIDTH)
    down[:, rows] = torch.randn(down[:, rows].shape, generator=generator)
    return torch.randn(WIDTH, rank, generator=generator), down


def test_it_is_the_norm_of_what_is_added_where_a_lora_acts(tmp_path: Path):
    factors = [_random(seed) for seed in (1, 2)]
    loras = [_low_rank(tmp_path, name, PICTURE, *each) for name, each in zip("ab", factors, strict=True)]
    a, b = (up @ down for up, down in factors)
    onto_a, onto_b = (torch.linalg.pinv(down) @ down for _, down in factors)
    found = {(each.lora, each.by): each.size for each in disturbances(loras)}
    assert found == {
        ("a", "b"): pytest.approx(float((b @ onto_a).norm() / a.norm()), rel=1e-3),
        ("b", "a"): pytest.approx(float((a @ onto_b).norm() / b.norm()), rel=1e-3),
    }


def test_a_layer_that_the_other_leaves_alone_counts(tmp_path: Path):
    one = torch.eye(WIDTH)
    loras = [_lora(tmp_path, "a", **{TEXT: one, "lora_te_y": one}), _lora(tmp_path, "b", **{TEXT: one})]
    assert {each.by: round(each.size, 2) for each in disturbances(loras)} == {"a": 1.0, "b": 0.71}


def test_loras_that_read_other_inputs_do_not_disturb(tmp_path: Path):
    first, second = _random(1, slice(0, 32)), _random(2, slice(32, 64))
    loras = [_low_rank(tmp_path, "a", PICTURE, *first), _low_rank(tmp_path, "b", PICTURE, *second)]
    assert all(each.size < 1e-6 for each in disturbances(loras))


def test_a_whole_difference_is_seen_by_its_largest_directions(tmp_path: Path):
    factors = [_random(seed) for seed in (1, 2)]
    a, b = (up @ down for up, down in factors)
    exact = [_low_rank(tmp_path, name, PICTURE, *each) for name, each in zip("ab", factors, strict=True)]
    whole = [_lora(tmp_path, "c", **{PICTURE: a}), _lora(tmp_path, "d", **{PICTURE: b})]
    sizes = [[each.size for each in disturbances(loras)] for loras in (exact, whole)]
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-3)
    before = torch.random.get_rng_state()
    disturbances(whole)
    assert torch.equal(torch.random.get_rng_state(), before), "a job that draws beside it is not disturbed"


def test_every_stage_is_apart_and_the_largest_comes_first(tmp_path: Path):
    loras = [
        _lora(tmp_path, "a", **{layer: torch.eye(WIDTH) for layer in (TEXT, CROSS, PICTURE)}),
        _lora(tmp_path, "b", **{TEXT: 2 * torch.eye(WIDTH), CROSS: torch.eye(WIDTH)}),
    ]
    found = disturbances(loras)
    assert [(each.stage, each.lora, each.by) for each in found[:1]] == [(Stage.TEXT, "a", "b")]
    assert {(each.stage, each.lora): round(each.size, 3) for each in found} == {
        (Stage.TEXT, "a"): 2.0, (Stage.TEXT, "b"): 0.5, (Stage.CROSS, "a"): 1.0, (Stage.CROSS, "b"): 1.0,
    }  # fmt: skip


def test_ratios_count(tmp_path: Path):
    a = _lora(tmp_path, "a", **{TEXT: torch.eye(WIDTH)})
    b = _lora(tmp_path, "b", ratio=0.25, **{TEXT: torch.eye(WIDTH)})
    assert {each.by: round(each.size, 3) for each in disturbances([a, b])} == {"a": 4.0, "b": 0.25}


def test_it_is_told_in_a_sentence():
    told = [Disturbance(Stage.CROSS, "a", "b", size).told for size in (0.634, 0.3, 0.2)]
    assert told[0] == "keys and values of texts: b adds 63% of that where a acts; they fight"
    assert told[1].endswith("they mix") and told[2].endswith("they get along")
