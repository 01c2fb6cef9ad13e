"""Every kind and naming of LoRA becomes one delta a layer, by one name, with a base or without."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from clora_ext.errors import LoraError
from clora_ext.merge.inputs import Ingredient, deltas_at, layers_of, read_ingredients
from clora_ext.merge.layer import FactoredDelta
from clora_ext.merge.naming import written_name
from tests.lora.obvious_kinds import cases

torch.manual_seed(0)
CASES = cases()
ON_BASE = [name for name in CASES if name.startswith(("DoRA", "IA3", "GLoRA", "OFT", "BOFT", "bias alone"))]
TO_Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
TINY, TINY_XL = (Path(__file__).parents[2] / "tiny_world" / folder / "lora" for folder in ("weights", "weights-xl"))


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file({name: part.contiguous() for name, part in tensors.items()}, str(path), metadata)
    return path


def _layer(name: str) -> str:
    return CONV if len(CASES[name][1]) == 4 else TO_Q


def _file(folder: Path, name: str) -> Path:
    parts = CASES[name][0]
    return _write(folder / "toy.safetensors", {f"{_layer(name)}.{part}": tensor for part, tensor in parts.items()})


@pytest.mark.parametrize("name", CASES)
def test_any_kind_is_its_difference_times_its_ratio(tmp_path: Path, name: str):
    parts, shape, obvious = CASES[name]
    weight = torch.randn(shape)
    (lora,) = read_ingredients([Ingredient(_file(tmp_path, name), 0.7)], weights={_layer(name): weight})
    delta = lora.delta(_layer(name))
    torch.testing.assert_close(delta.matrix, 0.7 * obvious(parts, weight).reshape(shape[0], -1), rtol=1e-4, atol=1e-5)
    bias = parts.get("diff_b", parts.get("b_norm"))
    assert (delta.bias is None) == (bias is None)
    if bias is not None:
        torch.testing.assert_close(delta.bias, 0.7 * bias)
    assert isinstance(delta, FactoredDelta) == (name.startswith(("LoRA", "LoCon")) and bias is None)
    assert delta.shape == shape


@pytest.mark.parametrize("name", [name for name in CASES if name not in ON_BASE])
def test_without_a_base_it_is_the_same_but_for_a_kernel_of_one(tmp_path: Path, name: str):
    path, shape = _file(tmp_path, name), CASES[name][1]
    (lora,) = read_ingredients([Ingredient(path)])
    (based,) = read_ingredients([Ingredient(path)], weights={_layer(name): torch.randn(shape)})
    found = lora.delta(_layer(name))
    assert torch.equal(found.matrix, based.delta(_layer(name)).matrix)
    assert [size for size in found.shape if size > 1] == [size for size in shape if size > 1]


@pytest.mark.parametrize("name", ON_BASE)
def test_what_depends_on_the_base_asks_for_it(tmp_path: Path, name: str):
    (lora,) = read_ingredients([Ingredient(_file(tmp_path, name))])
    with pytest.raises(LoraError, match=r"LoRA toy can not be merged: layer \w+ (is|has) .*: give the base"):
        lora.delta(_layer(name))


def test_a_base_of_other_sizes_is_told(tmp_path: Path):
    (lora,) = read_ingredients([Ingredient(_file(tmp_path, "LoRA"))], weights={TO_Q: torch.zeros(3, 3)})
    with pytest.raises(LoraError, match=r"is for 16 x 8 numbers, and the checkpoint's has 3 x 3; choose LoRAs of that"):
        lora.delta(TO_Q)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.world
def test_names_are_those_of_diffusers_own_conversion():
    load = pytest.importorskip("clora_ext.hosts.diffusers.checkpoint", exc_type=ImportError).load
    found = load(TINY.parent / "tiny-world.safetensors").unet_names
    names = {"lora_unet_" + ldm.replace(".", "_"): "lora_unet_" + own.replace(".", "_") for ldm, own in found.items()}
    assert len(names) > 300
    written = {written_name(name, is_xl=False) for name in names}
    assert written == set(names.values()) - {"lora_unet_conv_norm_out"} | {"lora_unet_out_0"}
    assert {written_name(name, is_xl=False) for name in written} == written
    sgm = {written_name(name, is_xl=True) for name in names.values()}
    first = "lora_unet_output_blocks_2_{}_conv"  # SDXL has attention on that level, and 1.x has not
    assert sgm == set(names) - {first.format(1)} | {first.format(2)}


def test_a_name_that_nobody_knows_stays():
    assert written_name("lora_unet_double_blocks_0", is_xl=True) == "lora_unet_double_blocks_0"
    assert written_name("lora_te_text_model_x", is_xl=False) == "lora_te_text_model_x"


NAMINGS = {
    "kohya": (f"{TO_Q}.lora_down.weight", f"{TO_Q}.lora_up.weight"),
    "diffusers": tuple(
        f"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.{side}.weight" for side in ("down", "up")
    ),
    "peft": tuple(
        f"base_model.model.unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_{side}.weight"
        for side in "AB"
    ),
    "ldm": tuple(
        f"lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_{side}.weight" for side in ("down", "up")
    ),
}


def test_one_layer_of_four_trainers_is_one_layer(tmp_path: Path):
    down, up = torch.randn(2, 6), torch.randn(8, 2)
    told = {"ss_base_model_version": "sd_v1"}
    paths = [
        _write(tmp_path / f"{key}.safetensors", dict(zip(names, (down, up), strict=True)), told)
        for key, names in NAMINGS.items()
    ]
    loras = read_ingredients([Ingredient(path) for path in paths])
    assert [(layer, len(those)) for layer, those in layers_of(loras).items()] == [(TO_Q, 4)]
    for delta in deltas_at(TO_Q, loras):
        torch.testing.assert_close(delta.matrix, up @ down)


def test_a_lora_that_leaves_a_layer_alone_adds_nothing_there(tmp_path: Path):
    one, other = _file(tmp_path, "LoRA"), _write(tmp_path / "other.safetensors", {f"{CONV}.diff": torch.ones(2, 2)})
    loras = read_ingredients([Ingredient(one), Ingredient(other)])
    assert [len(list(deltas_at(layer, loras))) for layer in (TO_Q, CONV)] == [1, 1]
    assert {layer: len(those) for layer, those in layers_of(loras).items()} == {TO_Q: 1, CONV: 1}


def test_a_kernel_of_one_may_be_written_as_a_matrix(tmp_path: Path):
    layer = "lora_unet_down_blocks_0_attentions_0_proj_in"
    down, up = torch.randn(2, 6), torch.randn(8, 2)
    wide = {f"{layer}.lora_down.weight": down[..., None, None], f"{layer}.lora_up.weight": up[..., None, None]}
    flat = {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
    paths = [_write(tmp_path / "flat.safetensors", flat), _write(tmp_path / "wide.safetensors", wide)]
    one, other = deltas_at(layer, read_ingredients([Ingredient(path) for path in paths]))
    assert one.shape == other.shape == (8, 6, 1, 1)
    assert torch.equal(one.matrix, other.matrix)


@pytest.mark.world
@pytest.mark.parametrize(
    ("path", "family", "layers"),
    [(TINY / "tuxcat.safetensors", "Stable Diffusion 1.x", 112), (TINY_XL / "tuxcat-xl.safetensors", "SDXL", 74)],
)
def test_the_tiny_worlds_loras_keep_their_names(path: Path, family: str, layers: int):
    (lora,) = read_ingredients([Ingredient(path)])
    assert (lora.family, lora.trigger, len(lora.layers)) == (family, "vako cat", layers)
    assert not any("te1" in name for name in lora.layers) or family == "SDXL"


def test_what_somebody_says_wins_over_the_file(tmp_path: Path):
    path = _write(tmp_path / "a.safetensors", {f"{TO_Q}.diff": torch.zeros(2, 2)}, {"modelspec.trigger_phrase": "one"})
    told, silent = read_ingredients([Ingredient(path, trigger="two"), Ingredient(path)])
    assert (told.trigger, silent.trigger) == ("two", "one")
