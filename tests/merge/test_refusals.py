"""What can not be merged is told before any work, with numbers; what somebody should know, too."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from clora_ext.errors import LoraError
from clora_ext.merge.inputs import Ingredient, read_ingredients
from clora_ext.merge.output import OutputForm, write_merged, written_layer
from clora_ext.merge.refusals import checked, most_bytes, require_room

torch.manual_seed(0)
Tensors = dict[str, Tensor]
BLOCK = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0"
TO_K, TO_Q = f"{BLOCK}_attn2_to_k", f"{BLOCK}_attn1_to_q"
WIDTHS = {"Stable Diffusion 1.x": 768, "SDXL": 2048}


def _pair(layer: str = TO_Q, inputs: int = 10, rank: int = 2) -> Tensors:
    return {f"{layer}.lora_down.weight": torch.randn(rank, inputs), f"{layer}.lora_up.weight": torch.randn(12, rank)}


def _file(folder: Path, name: str, tensors: Tensors, **metadata: str) -> Path:
    path = folder / f"{name}.safetensors"
    told = {f"modelspec.{key}": value for key, value in metadata.items()}
    save_file(tensors, str(path), {"modelspec.trigger_phrase": f"{name} thing", **told})
    return path


def _of(folder: Path, **files: Tensors) -> list[Ingredient]:
    return [Ingredient(_file(folder, name, tensors)) for name, tensors in files.items()]


def test_a_good_set_is_not_spoken_of(tmp_path: Path):
    assert checked(read_ingredients(_of(tmp_path, a=_pair(), b=_pair()))) == ()


def test_none_at_all():
    with pytest.raises(LoraError, match=r"There is no LoRA to merge: choose two or more"):
        checked([])


def test_mixed_bases(tmp_path: Path):
    wanted = _of(tmp_path, a=_pair(TO_K, 768), b=_pair(TO_K, 768), c=_pair(TO_K, 2048))
    told = r"different bases: 2 for Stable Diffusion 1.x \(a, b\); 1 for SDXL \(c\). Choose those of one"
    with pytest.raises(LoraError, match=told):
        checked(read_ingredients(wanted))


def test_a_base_of_another_kind(tmp_path: Path):
    wanted = _of(tmp_path, a=_pair(TO_K, 768), b=_pair(TO_K, 768))
    with pytest.raises(LoraError, match=r"made for Stable Diffusion 1.x, and the base is SDXL: choose a base"):
        checked(read_ingredients(wanted), "SDXL")


def test_sizes_that_contradict_each_other(tmp_path: Path):
    wanted = _of(tmp_path, a=_pair(), b=_pair(inputs=11))
    with pytest.raises(LoraError, match=rf"layer {TO_Q} has 12 x 10 in a, 12 x 11 in b numbers"):
        checked(read_ingredients(wanted))


def test_most_layers_strange_to_the_base(tmp_path: Path):
    wanted = _of(tmp_path, a=_pair(), b=_pair() | _pair("lora_unet_x") | _pair("lora_unet_y"))
    with pytest.raises(LoraError, match=r"LoRA b does not fit this checkpoint: 2 of its 3 layers are not in it"):
        checked(read_ingredients(wanted, weights={TO_Q: torch.zeros(12, 10)}))


def test_a_few_layers_strange_to_the_base_are_told_and_left_out(tmp_path: Path):
    wanted = _of(tmp_path, a=_pair(), b=_pair() | _pair("lora_unet_x"))
    loras = read_ingredients(wanted, weights={TO_Q: torch.zeros(12, 10)})
    (note,) = checked(loras)
    assert note.startswith("1 of 2 layers of LoRA b are not in this checkpoint and do nothing (lora_unet_x first)")
    assert loras[1].layers == (TO_Q,)


def test_most_tensors_of_no_layer(tmp_path: Path):
    strange = {f"decoder.{n}": torch.zeros(1) for n in range(3)}
    with pytest.raises(LoraError, match=r"LoRA b does not fit: 3 of its 5 tensors are of no layer, decoder.0 first"):
        checked(read_ingredients(_of(tmp_path, a=_pair(), b=_pair() | strange)))
    (note,) = checked(read_ingredients(_of(tmp_path, a=_pair(), c=_pair() | {"decoder.0": torch.zeros(1)})))
    assert note == "1 tensors of LoRA c are of no layer and do nothing (decoder.0 first)"


def test_numbers_that_are_none(tmp_path: Path):
    spoilt = _pair()
    spoilt[f"{TO_Q}.lora_up.weight"][0, 0] = float("nan")
    with pytest.raises(LoraError, match=r"LoRA a is spoilt: .* numbers that are not finite; take another save"):
        read_ingredients(_of(tmp_path, a=spoilt))


@pytest.mark.parametrize("other", ["a", "b"])
def test_one_lora_twice(tmp_path: Path, other: str):
    same = _pair()
    wanted = [*_of(tmp_path, a=same), *_of(tmp_path, **{other: same})]
    with pytest.raises(LoraError, match=r"LoRA a.* is there twice: keep one, and give that the ratio of both"):
        checked(read_ingredients(wanted))


def test_rank_nothing(tmp_path: Path):
    with pytest.raises(LoraError, match=rf"LoRA b has a layer of rank 0, {TO_Q}.lora_down.weight: take another save"):
        checked(read_ingredients(_of(tmp_path, a=_pair(), b=_pair(rank=0))))


@pytest.mark.parametrize("ratio", [0.0, float("nan"), float("inf")])
def test_a_ratio_of_nothing(tmp_path: Path, ratio: float):
    path = _file(tmp_path, "a", _pair())
    with pytest.raises(LoraError, match=r"LoRA a has the ratio (0|nan|inf): choose a number other than 0"):
        checked(read_ingredients([Ingredient(path, ratio)]))


def test_what_needs_a_base_asks_for_it(tmp_path: Path):
    wanted = _of(tmp_path, a=_pair(), b={f"{TO_Q}.oft_blocks": torch.randn(3, 4, 4)})
    with pytest.raises(LoraError, match=rf"LoRA b .* layer {TO_Q} is OFT, which depends on .*: give the base"):
        checked(read_ingredients(wanted))
    assert checked(read_ingredients(wanted, weights={TO_Q: torch.randn(12, 10)})) == ()


# -- room --------------------------------------------------------------------------------------------------------------


def test_no_room_on_the_disk(tmp_path: Path):
    with pytest.raises(LoraError, match=r"no room for six.safetensors: 1,000,000,000,000.0 MB are needed and .* free"):
        require_room(tmp_path / "six.safetensors", 10**18, [], overwrite=False)


def test_a_name_that_is_taken(tmp_path: Path):
    loras = read_ingredients(_of(tmp_path, a=_pair(), b=_pair()))
    taken = _file(tmp_path, "six", _pair())
    with pytest.raises(LoraError, match=r"six.safetensors is there already"):
        require_room(taken, 1, loras, overwrite=False)
    require_room(taken, 1, loras, overwrite=True)
    with pytest.raises(LoraError, match=r"a.safetensors is one of the LoRAs that are merged"):
        require_room(tmp_path / "a.safetensors", 1, loras, overwrite=True)
    with pytest.raises(LoraError, match=r"There is no folder gone for six.safetensors"):
        require_room(tmp_path / "gone" / "six.safetensors", 1, loras, overwrite=True)


@pytest.mark.parametrize("form", [OutputForm(), OutputForm(rank=1), OutputForm("full"), OutputForm(dtype="fp32")])
def test_the_room_that_is_asked_for_is_enough(tmp_path: Path, form: OutputForm):
    layers = [f"lora_unet_down_blocks_{n}_attentions_0_transformer_blocks_0_attn1_to_q" for n in range(4)]
    file = {key: part for layer in layers for key, part in _pair(layer, 4000, 4).items()}
    (lora,) = read_ingredients(_of(tmp_path, a=file))
    written = {layer: written_layer(lora.delta(layer), form) for layer in lora.layers}
    path = tmp_path / "six.safetensors"
    write_merged(path, written, {})
    tensors = sum(part.nbytes for layer in written.values() for part in layer.tensors.values())
    assert tensors - 16 <= most_bytes([lora], form) <= path.stat().st_size <= most_bytes([lora], form) + 4096


# -- warnings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sdxl_lightning_4step", "lcm-lora-sdv1-5", "Hyper-SD15-8steps", "dmd2", "SDXL-Turbo"])
def test_a_lora_for_few_steps_is_told(tmp_path: Path, name: str):
    (note,) = checked(read_ingredients([Ingredient(_file(tmp_path, name, _pair()))]))
    assert note.startswith(f"LoRA {name} looks as if it makes the model draw in few steps")


def test_so_is_one_by_its_title(tmp_path: Path):
    (note,) = checked(read_ingredients([Ingredient(_file(tmp_path, "a", _pair(), title="LCM for all"))]))
    assert "(LCM)" in note


@pytest.mark.parametrize("name", ["turbofish", "calcm", "hyperion", "enlightning"])
def test_a_word_that_only_holds_such_a_one_is_not(tmp_path: Path, name: str):
    assert checked(read_ingredients([Ingredient(_file(tmp_path, name, _pair()))])) == ()


def test_a_shared_trigger_is_told(tmp_path: Path):
    paths = [_file(tmp_path, name, _pair()) for name in "abc"]
    triggers = ("Sks  cat, red", "sks cat", "sks dog")
    wanted = [Ingredient(path, trigger=trigger) for path, trigger in zip(paths, triggers, strict=True)]
    assert checked(read_ingredients(wanted)) == (
        "LoRAs a and b share the trigger “sks cat”: merged, it calls up both at once",
    )


def test_a_lora_without_a_trigger_is_told(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save_file(_pair(), str(path))
    (note,) = checked(read_ingredients([Ingredient(path)]))
    assert note.startswith("LoRA a names no trigger: say its words")
