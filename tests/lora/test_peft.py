"""Files of PEFT that are none of LoRA: what they add is what PEFT adds (tests/golden/peft)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from clora_ext.errors import LoraError
from clora_ext.lora.deltas import DenseDelta
from clora_ext.lora.files import LoraFile, read_lora
from clora_ext.lora.kinds import PartsError, delta_of_parts, kind_of
from clora_ext.lora.peft import as_lycoris

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "peft" / "adapters.safetensors"
with safe_open(str(GOLDEN), framework="pt") as golden:
    TENSORS = {key: golden.get_tensor(key) for key in golden.keys()}  # noqa: SIM118 - not a mapping
    CONFIGS = {name: json.loads(text) for name, text in golden.metadata().items()}
LAYERS = [key.removesuffix("/merged") for key in TENSORS if key.endswith("/merged")]


def written(name: str, folder: Path) -> LoraFile:
    """The file of a case as PEFT leaves it, with its configuration beside."""
    front = f"{name}/file/"
    tensors = {key.removeprefix(front): part for key, part in TENSORS.items() if key.startswith(front)}
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIGS[name]), encoding="utf-8")
    return read_lora(folder / "adapter_model.safetensors")


@pytest.mark.parametrize("case", LAYERS)
def test_it_adds_what_peft_adds(tmp_path: Path, case: str):
    name, layer = case.split("/")
    weight, merged = TENSORS[f"{case}/weight"], TENSORS[f"{case}/merged"]
    parts = written(name, tmp_path).layers[f"lora_unet_{layer}"]
    delta = delta_of_parts(parts, weight, 1.0)
    assert isinstance(delta, DenseDelta)
    assert delta.weight is not None
    torch.testing.assert_close(weight + delta.weight, merged, rtol=1e-4, atol=1e-5)
    assert (merged - weight).abs().max() > 0.01


def read(tensors: dict[str, Tensor], config: object = None) -> dict[str, Tensor]:
    return as_lycoris({f"lora_unet_to_k.{part}": tensor for part, tensor in tensors.items()}, config)


@pytest.mark.parametrize("tensor", [torch.ones(2, 5), torch.ones(6)], ids=["five", "flat"])
def test_rotations_of_no_size_are_refused(tensor: Tensor):
    with pytest.raises(PartsError, match="of no kind that is known"):
        kind_of({key.partition(".")[2]: part for key, part in read({"oft_R": tensor}).items()})


def test_a_configuration_without_sense_is_pefts_own():
    """And a series without end ends."""
    triangles = torch.full((2, 6), 0.1)
    expected = read({"oft_R": triangles})
    for strange in ({"num_cayley_neumann_terms": "many"}, {"use_cayley_neumann": 3}, ["oft"]):
        torch.testing.assert_close(read({"oft_R": triangles}, strange), expected)
    endless = read({"oft_R": triangles}, {"num_cayley_neumann_terms": 10**9})
    torch.testing.assert_close(endless, expected, rtol=0.1, atol=0.1)


def test_an_ia3_of_a_convolution_is_refused(tmp_path: Path):
    """Nothing in the file says whether it is for inputs or for outputs."""
    save_file({"base_model.model.conv1.ia3_l": torch.ones(1, 4, 1, 1)}, tmp_path / "conv.safetensors")
    with pytest.raises((LoraError, PartsError), match="ia3_l"):
        kind_of(read_lora(tmp_path / "conv.safetensors").layers["lora_unet_conv1"])
