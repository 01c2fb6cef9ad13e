"""kohya's LoRA files: keys, alpha, kernels, and files that do not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clora_ext.errors import LoraError
from clora_ext.lora.files import read_lora, text_deltas, unet_deltas


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mid_block = nn.ModuleDict({"to_q": nn.Linear(6, 8), "conv": nn.Conv2d(4, 8, 3, padding=1)})


def _write(folder: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    path = folder / "toy.safetensors"
    save_file(tensors, str(path), metadata)
    return path


def test_linear_with_alpha_and_multiplier(tmp_path: Path):
    down, up = torch.randn(4, 6), torch.randn(8, 4)
    key = "lora_unet_mid_block_to_q"
    path = _write(
        tmp_path,
        {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(2.0)},
        {"modelspec.trigger_phrase": "zorv cat"},
    )
    model, file = Small(), read_lora(path)
    assert file.trigger == "zorv cat"
    (delta,) = unet_deltas(file, model, 0.5).values()
    x = torch.randn(3, 6)
    torch.testing.assert_close(delta(model.mid_block["to_q"], x), x @ (up @ down).T * 0.5 * 2 / 4)
    assert text_deltas(file, [model], 1.0) == {}


def test_a_tucker_core_carries_the_kernel(tmp_path: Path):
    key = "lora_unet_mid_block_conv"
    down, mid, up = torch.randn(3, 4, 1, 1), torch.randn(2, 3, 3, 3), torch.randn(8, 2, 1, 1)
    names = ("lora_down.weight", "lora_mid.weight", "lora_up.weight")
    path = _write(tmp_path, dict(zip([f"{key}.{n}" for n in names], (down, mid, up), strict=True)))
    model = Small()
    (delta,) = unet_deltas(read_lora(path), model, 1.0).values()
    x = torch.randn(2, 4, 5, 5)
    inner = nn.functional.conv2d(nn.functional.conv2d(x, down), mid, padding=1)
    torch.testing.assert_close(delta(model.mid_block["conv"], x), nn.functional.conv2d(inner, up), rtol=1e-4, atol=1e-4)


def test_text_encoder_keys_with_and_without_the_inner_wrapper(tmp_path: Path):
    key = "lora_te_text_model_encoder_fc1"
    path = _write(tmp_path, {f"{key}.lora_down.weight": torch.randn(1, 4), f"{key}.lora_up.weight": torch.randn(4, 1)})
    flat = nn.ModuleDict({"encoder": nn.ModuleDict({"fc1": nn.Linear(4, 4)})})
    wrapped = nn.Module()
    wrapped.text_model = flat
    for model in (flat, wrapped):
        assert len(text_deltas(read_lora(path), [model], 1.0)) == 1


def test_two_text_encoders_have_a_prefix_each(tmp_path: Path):
    tensors = {}
    for number in (1, 2):
        key = f"lora_te{number}_text_model_encoder_fc1"
        tensors |= {f"{key}.lora_down.weight": torch.full((1, 4), number), f"{key}.lora_up.weight": torch.ones(4, 1)}
    encoders = [nn.ModuleDict({"encoder": nn.ModuleDict({"fc1": nn.Linear(4, 4)})}) for _ in range(2)]
    found = text_deltas(read_lora(_write(tmp_path, tensors)), encoders, 1.0)
    assert [int(found[encoder["encoder"]["fc1"]].down[0, 0]) for encoder in encoders] == [1, 2]


def test_files_that_do_not_fit_are_refused_by_name(tmp_path: Path):
    with pytest.raises(LoraError, match="no LoRA file nothing"):
        read_lora(tmp_path / "nothing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(LoraError, match="is no safetensors file"):
        read_lora(tmp_path / "broken.safetensors")
    path = _write(tmp_path, {"lora_unet_elsewhere.lora_down.weight": torch.zeros(1, 2)})
    with pytest.raises(LoraError, match="1 of 1 layers are not in it, lora_unet_elsewhere first"):
        unet_deltas(read_lora(path), Small(), 1.0)
    path = _write(tmp_path, {"lora_unet_mid_block_to_q.hada_w1_a": torch.zeros(1, 2)})
    with pytest.raises(LoraError, match="hada_w1_a"):
        unet_deltas(read_lora(path), Small(), 1.0)


def test_layers_may_have_other_names(tmp_path: Path):
    """sgm's in a file for SDXL, say."""
    parts = {"lora_down.weight": torch.ones(1, 6), "lora_up.weight": torch.ones(8, 1)}
    path = _write(tmp_path, {f"lora_unet_middle_block_1_to_q.{name}": part for name, part in parts.items()})
    model, file = Small(), read_lora(path)
    (layer,) = unet_deltas(file, model, 1.0, {"middle_block.1.to_q": "mid_block.to_q"})
    assert layer is model.mid_block["to_q"]
    with pytest.raises(LoraError, match="1 of 1 layers are not in it"):
        unet_deltas(file, model, 1.0)


def test_a_file_that_is_not_named_as_kohyas_is_refused(tmp_path: Path):
    path = _write(tmp_path, {"unet.mid_block.to_q.lora_A.weight": torch.zeros(1, 6)})
    with pytest.raises(LoraError, match=r"no layer named as kohya's trainer names them \(unet.mid_block.to_q"):
        unet_deltas(read_lora(path), Small(), 1.0)


def test_a_file_for_other_text_encoders_is_refused(tmp_path: Path):
    encoder = nn.ModuleDict({"encoder": nn.ModuleDict({"fc1": nn.Linear(4, 4)})})
    for prefix, encoders in (("lora_te", [encoder] * 2), ("lora_te2", [encoder])):
        path = _write(tmp_path, {f"{prefix}_text_model_encoder_fc1.lora_down.weight": torch.zeros(1, 4)})
        with pytest.raises(LoraError, match="made for other text encoders"):
            text_deltas(read_lora(path), encoders, 1.0)


@pytest.mark.parametrize(("layer", "width"), [("attn2_to_k", 768), ("attn1_to_k", None)])
def test_a_file_tells_the_width_of_the_texts_that_it_reads(tmp_path: Path, layer: str, width: int | None):
    path = _write(tmp_path, {f"lora_unet_mid_block_{layer}.lora_down.weight": torch.zeros(2, 768)})
    assert read_lora(path).text_width == width
