"""LoRA files: names of all trainers on a model's layers, what strength, and every fault in a sentence."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from clora_ext.errors import LoraError
from clora_ext.lora.deltas import LowRank
from clora_ext.lora.files import lora_sizes, read_lora
from clora_ext.lora.header import read_header
from clora_ext.lora.kinds import fitting_kind
from clora_ext.lora.layers import deltas_of, require_fit, shapes_of, text_layers, told_apart, unet_layers
from clora_ext.lora.names import for_encoders

TO_Q = "lora_unet_mid_block_to_q"
SD1, SD2, SDXL = "Stable Diffusion 1.x", "Stable Diffusion 2.x", "SDXL"


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mid_block = nn.ModuleDict({"to_q": nn.Linear(6, 8), "conv": nn.Conv2d(4, 8, 3, padding=1)})
        self.mid_block["attn2"] = nn.ModuleDict({"to_k": nn.Linear(12, 8), "to_out": nn.ModuleList([nn.Linear(8, 8)])})


def _write(folder: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    path = folder / "toy.safetensors"
    save_file(tensors, str(path), metadata)
    return path


def _pair(
    layer: str, rank: int = 2, names: tuple[str, str] = ("lora_down.weight", "lora_up.weight")
) -> dict[str, Tensor]:
    """Random factors for a layer with 6 inputs and 8 outputs."""
    return {f"{layer}.{names[0]}": torch.randn(rank, 6), f"{layer}.{names[1]}": torch.randn(8, rank)}


def _unet_delta(path: Path, multiplier: float = 1.0) -> LowRank:
    (delta,) = deltas_of(read_lora(path), unet_layers(Small()), multiplier).values()
    assert isinstance(delta, LowRank)
    return delta


def test_alpha_and_multiplier_scale_a_pair(tmp_path: Path):
    pair = _pair(TO_Q, 4)
    path = _write(tmp_path, pair | {f"{TO_Q}.alpha": torch.tensor(2.0)}, {"modelspec.trigger_phrase": "zorv cat"})
    file = read_lora(path)
    assert (file.trigger, file.as_written) == ("zorv cat", True)
    down, up = pair.values()
    x = torch.randn(3, 6)
    found = _unet_delta(path, 0.5)(nn.Linear(6, 8), x)
    torch.testing.assert_close(found, x @ (up @ down).T * 0.5 * 2 / 4)


DIFFUSERS = ("lora.down.weight", "lora.up.weight")
PEFT = ("lora_A.weight", "lora_B.weight")


@pytest.mark.parametrize(
    ("layer", "sides"),
    [
        ("mid_block.processor.to_q", ("_lora.down.weight", "_lora.up.weight")),
        ("unet.mid_block.to_q.", DIFFUSERS),
        ("unet.mid_block.to_q.", ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight")),
        ("unet.unet.mid_block.to_q.", DIFFUSERS),
        ("lora_unet_unet_mid_block_to_q", ("_lora_down.weight", "_lora_up.weight")),
        ("base_model.model.mid_block.to_q.", PEFT),
        ("unet.mid_block.to_q.", ("lora_A.default.weight", "lora_B.default.weight")),
        ("lora_unet_mid_block_to_q.", PEFT),
    ],
)
def test_every_form_of_names_is_the_same_lora(tmp_path: Path, layer: str, sides: tuple[str, str]):
    down, up = torch.randn(2, 6), torch.randn(8, 2)
    path = _write(tmp_path, {layer + sides[0]: down, layer + sides[1]: up})
    found = _unet_delta(path)
    assert torch.equal(found.down, down)
    assert torch.equal(found.up, up)
    assert found.scale == 1.0
    assert not read_lora(path).as_written


def test_ranks_may_differ_from_layer_to_layer(tmp_path: Path):
    key = "lora_unet_mid_block_attn2_to_out_0"
    other = {f"{key}.lora_down.weight": torch.randn(5, 8), f"{key}.lora_up.weight": torch.randn(8, 5)}
    found = deltas_of(read_lora(_write(tmp_path, _pair(TO_Q) | other)), unet_layers(Small()), 1.0)
    assert sorted(delta.down.shape[0] for delta in found.values()) == [2, 5]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_short_floats_are_read(tmp_path: Path, name: str):
    dtype = getattr(torch, name)
    pair = {key: part.to(dtype) for key, part in _pair(TO_Q).items()}
    path = _write(tmp_path, pair)
    expected = [part.float() for part in pair.values()]
    found = _unet_delta(path)
    assert torch.equal(found.down, expected[0])
    assert torch.equal(found.up, expected[1])
    assert read_lora(path).as_written == ("float8" not in name)


# -- PEFT's strength --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"lora_alpha": 8}, 4.0),
        ({"unet.lora_alpha": 8, "text_encoder.lora_alpha": 1}, 4.0),
        ({"lora_alpha": 8, "use_rslora": True}, 8 / 2**0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"mid_block.to_q": 1}}, 0.5),
        ({}, 1.0),
    ],
    ids=str,
)
def test_pefts_configuration_says_how_strong(tmp_path: Path, config: dict, scale: float):
    tensors = _pair("unet.mid_block.to_q", 2, PEFT)
    path = _write(tmp_path, tensors, {"lora_adapter_metadata": json.dumps(config)})
    assert _unet_delta(path).scale == pytest.approx(scale)
    beside = tmp_path / "beside"
    beside.mkdir()
    path = _write(beside, tensors).rename(beside / "adapter_model.safetensors")
    (beside / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert _unet_delta(path).scale == pytest.approx(scale)


def test_an_alpha_in_the_file_counts_more(tmp_path: Path):
    tensors = _pair("unet.mid_block.to_q", 2, PEFT) | {"unet.mid_block.to_q.alpha": torch.tensor(3.0)}
    path = _write(tmp_path, tensors, {"lora_adapter_metadata": '{"lora_alpha": 8}'})
    assert _unet_delta(path).scale == 1.5


@pytest.mark.parametrize("config", ["[1]", "no json", '{"lora_alpha": "much"}', '{"alpha_pattern": 3}'])
def test_a_configuration_that_says_nothing_is_ignored(tmp_path: Path, config: str):
    path = _write(tmp_path, _pair("unet.mid_block.to_q", 2, PEFT), {"lora_adapter_metadata": config})
    assert _unet_delta(path).scale == 1.0


# -- text encoders ----------------------------------------------------------------------------------------------------


def _encoder() -> nn.Module:
    return nn.ModuleDict({"encoder": nn.ModuleDict({"fc1": nn.Linear(6, 8)})})


def test_text_encoder_keys_with_and_without_the_inner_wrapper(tmp_path: Path):
    file = read_lora(_write(tmp_path, _pair("lora_te_text_model_encoder_fc1")))
    wrapped = nn.Module()
    wrapped.text_model = _encoder()
    for model in (_encoder(), wrapped):
        assert len(deltas_of(file, text_layers([model]), 1.0)) == 1
        assert deltas_of(file, unet_layers(Small()), 1.0) == {}


def test_two_text_encoders_have_a_prefix_each(tmp_path: Path):
    tensors = {}
    for number in (1, 2):
        key = f"lora_te{number}_text_model_encoder_fc1"
        tensors |= {f"{key}.lora_down.weight": torch.full((1, 6), number), f"{key}.lora_up.weight": torch.ones(8, 1)}
    encoders = [_encoder(), _encoder()]
    found = deltas_of(read_lora(_write(tmp_path, tensors)), text_layers(encoders), 1.0)
    assert [int(found[encoder["encoder"]["fc1"]].down[0, 0]) for encoder in encoders] == [1, 2]


@pytest.mark.parametrize("layer", ["text_encoder.text_model.encoder.fc1", "base_model.model.text_model.encoder.fc1"])
@pytest.mark.parametrize("number", [1, 2])
def test_diffusers_text_encoder_is_the_first_of_any_model(tmp_path: Path, layer: str, number: int):
    file = read_lora(_write(tmp_path, _pair(layer, 2, PEFT)))
    layers = text_layers([_encoder() for _ in range(number)])
    tensors = for_encoders(file.tensors, number)
    assert {name.partition(".")[0] for name in tensors} == set(list(layers)[:1])


def test_layers_may_have_other_names(tmp_path: Path):
    """sgm's in a file for SDXL, say."""
    model, file = Small(), read_lora(_write(tmp_path, _pair("lora_unet_middle_block_1_to_q")))
    (layer,) = deltas_of(file, unet_layers(model, {"middle_block.1.to_q": "mid_block.to_q"}), 1.0)
    assert layer is model.mid_block["to_q"]
    assert deltas_of(file, unet_layers(model), 1.0) == {}


# -- does it fit? -----------------------------------------------------------------------------------------------------


def _fit(path: Path, model: str | None = None) -> tuple[str, ...]:
    return require_fit(read_lora(path).without_numbers(), shapes_of(unet_layers(Small())), model)


def test_a_file_that_fits_has_no_notes(tmp_path: Path):
    assert _fit(_write(tmp_path, _pair(TO_Q))) == ()


def test_a_few_strange_layers_are_left_out_and_told(tmp_path: Path):
    other = "lora_unet_mid_block_attn2_to_out_0"
    known = _pair(TO_Q) | {f"{other}.diff": torch.zeros(8, 8)}
    strange = {"v_pred": torch.zeros(0), **_pair("lora_unet_elsewhere")}
    assert _fit(_write(tmp_path, known | strange)) == (
        "1 of 3 layers of LoRA toy are not in this checkpoint and do nothing (lora_unet_elsewhere first)",
        "1 tensors of LoRA toy are of no layer and do nothing (v_pred first)",
    )


def test_mostly_strange_layers_are_refused(tmp_path: Path):
    strange = _pair("lora_unet_elsewhere") | _pair("lora_unet_far")
    with pytest.raises(LoraError, match=r"2 of its 3 layers are not in it, lora_unet_elsewhere first; choose one"):
        _fit(_write(tmp_path, strange | _pair(TO_Q)), SD1)


@pytest.mark.parametrize(("layer", "width"), [("attn2_to_k", 768), ("attn1_to_k", None)])
def test_a_file_tells_the_width_of_the_texts_that_it_reads(tmp_path: Path, layer: str, width: int | None):
    path = _write(tmp_path, {f"lora_unet_mid_block_{layer}.lora_down.weight": torch.zeros(2, 768)})
    assert read_lora(path).text_width == width


@pytest.mark.parametrize(
    ("layer", "width", "made_for"),
    [
        ("lora_unet_mid_block_attn2_to_k", 768, SD1),
        ("unet.mid_block.attn2.to_k", 1024, SD2),
        ("lora_unet_input_blocks_4_1_attn2_to_k", 2048, SDXL),
        ("lora_te2_text_model_encoder_fc1", 6, SDXL),
        ("text_encoder_2.text_model.encoder.fc1", 6, SDXL),
        ("transformer.single_transformer_blocks.0.attn.to_k", 6, "Flux, Stable Diffusion 3 or another transformer"),
        ("lora_unet_double_blocks_0_img_attn_qkv", 6, "Flux, Stable Diffusion 3 or another transformer"),
        ("lora_te_text_model_encoder_fc1", 6, None),
        ("lora_unet_mid_block_attn2_to_k", 64, None),
    ],
)
def test_layers_tell_what_a_file_was_made_for(tmp_path: Path, layer: str, width: int, made_for: str | None):
    pair = {f"{layer}.lora_down.weight": torch.zeros(2, width), f"{layer}.lora_up.weight": torch.zeros(8, 2)}
    path = _write(tmp_path, pair)
    assert read_lora(path).made_for == made_for
    if made_for is not None:
        other = SD2 if made_for == SD1 else SD1
        with pytest.raises(LoraError, match=f"toy was made for {made_for}, this checkpoint is {other}: choose"):
            _fit(path, other)


def test_a_header_alone_tells_it_too(tmp_path: Path):
    key = "unet.mid_block.attn2.to_k"
    path = _write(tmp_path, {f"{key}.lora_A.weight": torch.zeros(2, 1024), f"{key}.lora_B.weight": torch.zeros(8, 2)})
    told = f"LoRA toy was made for {SD2}, this checkpoint is {SD1}: choose a LoRA of its kind."
    assert told_apart(lora_sizes(path), SD1) == told
    assert told_apart(lora_sizes(path), SD2) is None
    assert told_apart(lora_sizes(path), None) is None
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LoraError, match="is cut off"):
        lora_sizes(path)


@pytest.mark.parametrize("shape", [b"[-2,6]", b'["a"]', b"[1.5]"])
def test_a_header_with_impossible_sizes_is_told(tmp_path: Path, shape: bytes):
    path = tmp_path / "toy.safetensors"
    path.write_bytes(_header(b'{"a":{"dtype":"F32","shape":%s,"data_offsets":[0,0]}}' % shape))
    with pytest.raises(LoraError, match="damaged header"):
        lora_sizes(path)


def test_wrong_sizes_are_not_called_another_kind_of_model(tmp_path: Path):
    key = "lora_unet_mid_block_attn2_to_k"
    pair = {f"{key}.lora_down.weight": torch.zeros(2, 768), f"{key}.lora_up.weight": torch.zeros(9, 2)}
    with pytest.raises(LoraError) as caught:
        _fit(_write(tmp_path, pair), SD1)
    assert caught.value.message == (
        f"LoRA toy does not fit this checkpoint: layer {key} is for 9 x 768 numbers, and the checkpoint's has 8 x 12; "
        "choose one that was made for it, or download it again."
    )


# -- faults -----------------------------------------------------------------------------------------------------------

WHOLE = _pair(TO_Q) | {"lora_unet_mid_block_attn2_to_out_0.diff": torch.randn(8, 8)}


def _bytes(tensors: dict[str, Tensor], folder: Path) -> bytes:
    return _write(folder, tensors).read_bytes()


def _header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


ENTRY = b'{"dtype":"F32","shape":[2,6],"data_offsets":[%d,%d]}'
FAULTS = {
    "nothing": (b"", "is empty: download it again"),
    "cut in the length": (b"\x10\x00\x00", "is empty: download it again"),
    "a gigabyte of header": ((1 << 30).to_bytes(8, "little") + b"{}", "is no safetensors file"),
    "a web page": (b"<!DOCTYPE html><html></html>", "is a page of the web, not a LoRA; download the file itself"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "only says where Git LFS keeps the file"),
    "an archive": (b"PK\x03\x04" + bytes(20), "is an archive of PyTorch's under another ending"),
    "a pickle": (b"\x80\x02}q\x00." + bytes(20), "is a pickle of PyTorch's under another ending"),
    "words": (b"not a tensor file", "is no safetensors file"),
    "no json": (_header(b"{not json"), "its header is damaged"),
    "a list": (_header(b"[1, 2]  "), "its header is damaged"),
    "deep": (_header(b"[" * 100_000), "its header is damaged"),
    "no offsets": (_header(b'{"a": {"dtype": "F32"}}'), "its header is damaged"),
    "no tensors": (_header(b'{"__metadata__": {"a": "b"}}'), "has no tensors in it"),
    "overlap": (_header(b'{"a":' + ENTRY % (0, 48) + b',"b":' + ENTRY % (8, 56) + b"}") + bytes(64), "contradicts"),
    "wrong size": (_header(b'{"a":' + ENTRY % (0, 40) + b"}") + bytes(64), "contradicts itself"),
    "negative": (_header(b'{"a":' + ENTRY % (-48, 0) + b"}") + bytes(64), "contradicts itself"),
    "unknown numbers": (_header(b'{"a":{"dtype":"X9","shape":[2],"data_offsets":[0,8]}}') + bytes(8), "contradicts"),
}  # fmt: skip
FOREIGN = re.compile(r"Error|Exception|torch\.|safetensors_rust|header too|deserializ|Traceback|mat1|expanded", re.I)


def _told(path: Path) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(LoraError) as caught:
        _fit(path, SD1)
    told = caught.value.message
    assert caught.value.field == "lora"
    assert told.endswith(".")
    assert not FOREIGN.search(told), told
    return told


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_is_something_else_is_told(tmp_path: Path, name: str):
    data, words = FAULTS[name]
    path = tmp_path / "toy.safetensors"
    path.write_bytes(data)
    assert words in _told(path)


@pytest.mark.parametrize("first", [0x80, ord("<"), ord("P"), ord("v")])
def test_a_header_whose_length_begins_like_another_kind_of_file_is_read(tmp_path: Path, first: int):
    path = _write(tmp_path, _pair("lora_unet_mid_block_attentions_0_proj_in"))
    found = path.read_bytes()
    length = int.from_bytes(found[:8], "little")
    more = (first - length) % 256
    path.write_bytes((length + more).to_bytes(8, "little") + found[8 : 8 + length] + b" " * more + found[8 + length :])
    assert path.read_bytes()[0] == first
    assert read_header(path).tensors


@pytest.mark.parametrize("error", [MemoryError, torch.cuda.OutOfMemoryError])
def test_a_lack_of_memory_is_no_fault_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
):
    path = _write(tmp_path, _pair("lora_unet_mid_block_attentions_0_proj_in"))

    def lacking(*_: object, **__: object) -> None:
        raise error("none is left")

    monkeypatch.setattr("clora_ext.lora.files.safe_open", lacking)
    with pytest.raises(error):
        read_lora(path)
    monkeypatch.setattr("clora_ext.lora.kinds._difference", lacking)
    with pytest.raises(error):
        fitting_kind({"lora_down.weight": torch.ones(2, 6), "lora_up.weight": torch.ones(8, 2)}, (8, 6))


def test_a_file_that_is_missing_is_told(tmp_path: Path):
    with pytest.raises(LoraError, match="no LoRA file nothing"):
        read_lora(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_says_how_much_is_there(tmp_path: Path, share: float):
    whole = _bytes(WHOLE, tmp_path)
    path = tmp_path / "toy.safetensors"
    path.write_bytes(whole[: int(share * len(whole))])
    told = _told(path)
    assert f"is cut off: {int(share * len(whole)):,} bytes of " in told
    assert told.endswith("are there; download it again.")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "float8_e5m2"])
def test_numbers_that_are_not_finite_are_told(tmp_path: Path, number: float, name: str):
    tensors = {key: part.clone() for key, part in _pair(TO_Q).items()}
    tensors[f"{TO_Q}.lora_up.weight"][3, 1] = number
    tensors = {key: part.to(getattr(torch, name)) for key, part in tensors.items()}
    assert f"is spoilt: {TO_Q}.lora_up.weight has numbers that are not finite; take another" in _told(
        _write(tmp_path, tensors)
    )


@pytest.mark.parametrize("gone", ["lora_down.weight", "lora_up.weight"])
def test_half_of_a_pair_is_told(tmp_path: Path, gone: str):
    kept = "lora_up.weight" if gone == "lora_down.weight" else "lora_down.weight"
    tensors = {key: part for key, part in WHOLE.items() if key != f"{TO_Q}.{gone}"}
    told = _told(_write(tmp_path, tensors))
    assert told.startswith(f"LoRA toy is not whole: layer {TO_Q} has {kept}, but no {gone}; download it again, or")


def test_what_is_no_lora_is_told(tmp_path: Path):
    told = _told(_write(tmp_path, {"emb_params": torch.zeros(2, 768)}))
    assert told.startswith("LoRA toy has no layer of a LoRA in it (emb_params first); if it is something else, it")


def test_wrong_sizes_raise_a_sentence_where_deltas_are_made_too(tmp_path: Path):
    path = _write(
        tmp_path, {f"{TO_Q}.lora_down.weight": torch.zeros(2, 7), f"{TO_Q}.lora_up.weight": torch.zeros(8, 2)}
    )
    with pytest.raises(LoraError, match=f"does not fit this checkpoint: layer {TO_Q} is for 8 x 7 numbers"):
        deltas_of(read_lora(path), unet_layers(Small()), 1.0)


@pytest.mark.parametrize("metadata", [5, "x", [1], True])
def test_metadata_that_is_no_object_is_a_damaged_header(tmp_path: Path, metadata: object):
    text = json.dumps({"__metadata__": metadata, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "toy.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(LoraError, match="its header is damaged"):
        read_header(path)


def test_an_adapter_configuration_that_is_nested_without_end_is_none(tmp_path: Path):
    path = _write(tmp_path, _pair(TO_Q), {"lora_adapter_metadata": "[" * 100_000})
    assert TO_Q in read_lora(path).layers
