"""LoRA files of every naming and kind on full-size models in WebUI's own Python: read whole, or refused in words."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.lora.obvious_kinds import cases
from tests.models.full_size import KINDS, text_layers, unet
from tests.webui.own_python import lines_of

Tensors = dict[str, Tensor]
Naming = Callable[[str, str, str], str]
"""From a network (unet, text_encoder or text_encoder_2), a layer and a side (down, up) to the name of a tensor."""
HALF = torch.float16


def _kohya(network: str, layer: str, side: str) -> str:
    return f"{network}_{layer.replace('.', '_')}.lora_{side}.weight"


def _processor(network: str, layer: str, side: str) -> str:
    layer = layer.removesuffix(".0")
    if network != "unet":
        layer = layer.replace("out_proj", "to_out")
        for one in "qkv":
            layer = layer.replace(f"{one}_proj", f"to_{one}")
        return f"{network}.{layer}_lora.{side}.weight"
    attention, _, name = layer.rpartition(".")
    return f"{network}.{attention}.processor.{name}_lora.{side}.weight"


SIDES = {"down": "A", "up": "B"}
NAMINGS: dict[str, Naming] = {
    "kohya": _kohya,
    "diffusers": lambda network, layer, side: f"{network}.{layer}.lora.{side}.weight",
    "linear": lambda network, layer, side: f"{network}.{layer}.lora_linear_layer.{side}.weight",
    "processor": _processor,
    "peft": lambda network, layer, side: f"base_model.model.{network}.{layer}.lora_{SIDES[side]}.weight",
    "default": lambda network, layer, side: f"{network}.{layer}.lora_{SIDES[side]}.default.weight",
    "twice": lambda network, layer, side: f"lora_unet_{network}_{layer.replace('.', '_')}_lora_{side}.weight",
}


def _attention(kind: str) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in unet(kind).named_modules():
        if ".attn" in name and isinstance(layer, nn.Linear):
            yield name, layer


def _pair(layer: nn.Module, rank: int = 1) -> tuple[Tensor, Tensor]:
    out, inputs, *kernel = layer.weight.shape
    return torch.zeros(rank, inputs, *kernel, dtype=HALF), torch.zeros(out, rank, *[1] * len(kernel), dtype=HALF)


def _named(kind: str, naming: str) -> Tensors:
    """A LoRA of the UNet's attention and of the text encoders' attention."""
    name, found = NAMINGS[naming], {}
    networks = {1: "text_encoder", 2: "text_encoder_2"}
    if naming == "kohya":
        networks = {1: "lora_te1" if kind == "sdxl" else "lora_te", 2: "lora_te2"}
    layers = [("lora_unet" if naming == "kohya" else "unet", *each) for each in _attention(kind)]
    layers += [(networks[number], *each) for number, *each in text_layers(kind) if ".self_attn." in each[0]]
    for network, layer, module in layers:
        for side, part in zip(("down", "up"), _pair(module), strict=True):
            found[name(network, layer, side)] = part
    return found


def _whole(kind: str) -> Tensors:
    """A LoCon of every linear layer and convolution of the UNet, by diffusers' names."""
    found: Tensors = {}
    for name, layer in unet(kind).named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            down, up = _pair(layer)
            found |= {f"unet.{name}.lora.down.weight": down, f"unet.{name}.lora.up.weight": up}
    return found


def _parts(kind: str, size: int) -> Iterator[tuple[str, Tensor]]:
    """Small parts of a kind of LoRA for a square linear layer."""
    one, other = (size, 1), (1, size)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "Lora": {"lora_down.weight": other, "lora_up.weight": one},
        "Hada": {"hada_w1_a": one, "hada_w1_b": other, "hada_w2_a": one, "hada_w2_b": other},
        "Lokr": {"lokr_w1": (8, 8), "lokr_w2_a": (size // 8, 1), "lokr_w2_b": (1, size // 8)},
        "Ia3": {"weight": (size,)},
        "GLora": {"a1.weight": other, "a2.weight": one, "b1.weight": other, "b2.weight": one, "alpha": ()},
        "OFT": {"oft_blocks": (size // 8, 8, 8)},
        "Full": {"diff": (size, size)},
    }
    for name, shape in shapes[kind].items():
        yield name, torch.zeros(shape, dtype=HALF)
    if kind == "Ia3":
        yield "on_input", torch.tensor(False)


MODULES = ("Lora", "Hada", "Lokr", "Ia3", "GLora", "OFT", "Full")


def _kinds(prefix: str) -> Tensors:
    """A layer of each kind, and a norm."""
    squares = [(name, layer) for name, layer in _attention("sd1") if name.endswith("attn1.to_q")]
    found: Tensors = {}
    for module, (name, layer) in zip(MODULES, squares, strict=False):
        for part, tensor in _parts(module, layer.out_features):
            found[f"{prefix}{name.replace('.', '_')}.{part}"] = tensor
    norm = f"{prefix}down_blocks_0_resnets_0_norm1"
    return found | {f"{norm}.w_norm": torch.zeros(320), f"{norm}.b_norm": torch.zeros(320)}


def _incomplete() -> Tensors:
    """Kinds that WebUI asks more of than they need."""
    tensors = {name: part for name, part in _kinds("lora_unet_").items() if not name.endswith((".b_norm", ".alpha"))}
    conv = "lora_unet_down_blocks_0_resnets_0_conv1"
    return tensors | {f"{conv}.diff_b": torch.zeros(320)}


def _only(kind: str, words: str) -> Tensors:
    return {name: part for name, part in _named(kind, "diffusers").items() if words in name}


TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
NUMBERED = {f"unet:{number}:{side}": part for number, (_, layer) in enumerate(itertools.islice(_attention("sd1"), 4))
            for side, part in zip(("down", "up"), _pair(layer), strict=True)}  # fmt: skip


def _bad(change: str) -> Tensors:
    tensors = _named("sd1", "kohya")
    if change == "half":
        del tensors[f"{TO_K}.lora_up.weight"]
    elif change == "nan":
        tensors[f"{TO_K}.lora_up.weight"][0] = float("nan")
    else:
        tensors[f"{TO_K}.lora_up.weight"] = torch.zeros(321, 1, dtype=HALF)
    return tensors


FILES: dict[str, Callable[[], Tensors]] = {
    **{f"{kind}/{name}": (lambda kind=kind, name=name: _named(kind, name)) for kind in KINDS for name in NAMINGS
       if name != "twice"},
    "sd1/twice": lambda: {name: part for name, part in _named("sd1", "twice").items() if "text_encoder" not in name},
    **{f"{kind}/whole": (lambda kind=kind: _whole(kind)) for kind in KINDS},
    "sd1/kinds": lambda: _kinds("lora_unet_"),
    "sd1/kinds-lycoris": lambda: _kinds("lycoris_"),
    "sd1/incomplete": _incomplete,
    "sd1/numbered": lambda: NUMBERED,
    "sd1/fp8": lambda: {name: part.to(torch.float8_e4m3fn) for name, part in _only("sd1", "attn1").items()},
    "sd1/bf16": lambda: {name: part.to(torch.bfloat16) for name, part in _only("sd1", "attn1").items()},
    "sd2/query-and-value": lambda: {name: part for name, part in _only("sd2", "text_encoder").items()
                                    if "q_proj" in name or "v_proj" in name},
}  # fmt: skip
REFUSED: dict[str, tuple[Callable[[], Tensors], str]] = {
    "sd1/for-sd2": (lambda: _named("sd2", "diffusers"), "was made for Stable Diffusion 2.x, this checkpoint is Stable"),
    "sd1/for-sdxl": (lambda: _named("sdxl", "kohya"), "was made for SDXL, this checkpoint is Stable Diffusion 1.x"),
    "sd2/for-sd1": (lambda: _named("sd1", "kohya"), "was made for Stable Diffusion 1.x, this checkpoint is Stable"),
    "sdxl/for-sd1": (lambda: _named("sd1", "kohya"), "was made for Stable Diffusion 1.x, this checkpoint is SDXL"),
    "sd1/half": (lambda: _bad("half"), f"layer {TO_K} has lora_down.weight, but no lora_up.weight; download it again"),
    "sd1/nan": (lambda: _bad("nan"), "has numbers that are not finite; take another save"),
    "sd1/wide": (lambda: _bad("wide"), f"layer {TO_K} is for 321 x 768 numbers, and the checkpoint's has 320 x 768"),
    "sd1/embedding": (lambda: {"emb_params": torch.zeros(2, 768)}, "has no layer of a LoRA in it"),
}
CUT = "sd1/cut"


@pytest.fixture(scope="module")
def found(webui_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What became of every file."""
    scratch = tmp_path_factory.mktemp("scratch")
    for name, make in {**FILES, **{name: make for name, (make, _) in REFUSED.items()}}.items():
        path = scratch / "loras" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(make(), str(path))
    whole = (scratch / "loras" / "sd1" / "kohya.safetensors").read_bytes()
    (scratch / "loras" / f"{CUT}.safetensors").write_bytes(whole[: len(whole) // 2])
    lines = lines_of(webui_dir, "place_loras.py", scratch)
    return {line["file"].removesuffix(".safetensors"): line for line in lines}


def _layers(tensors: Tensors) -> int:
    ends = (".lora_down.weight", "_lora_down.weight", "lora.down.weight", "layer.down.weight", ":down", "lora_A.weight")
    return len([name for name in tensors if name.endswith((*ends, "lora_A.default.weight"))])


@pytest.mark.row("LoRA files of full size", "read whole", name="{name}")
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_whole(found: dict[str, dict[str, Any]], name: str):
    line, tensors = found[name], FILES[name]()
    assert "error" not in line, line["error"]
    assert line["notes"] == []
    if "kinds" in name or "incomplete" in name:
        assert line["kinds"] == sorted(f"NetworkModule{module}" for module in (*MODULES, "Norm"))
    elif name == "sd2/query-and-value":  # the host applies a LoRA to OpenCLIP's attention with all four parts alone
        assert line["layers"] == 2 * _layers(tensors)
    else:
        assert line["layers"] == _layers(tensors)


@pytest.mark.row("LoRA files of full size", "refused in a sentence", name="{name}")
@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(found: dict[str, dict[str, Any]], name: str):
    assert REFUSED[name][1] in found[name]["error"]
    assert found[name]["error"].endswith(".")


@pytest.mark.row("LoRA files of full size", "refused in a sentence", name="sd1/cut")
def test_a_file_that_is_cut_off_is_refused_in_a_sentence(found: dict[str, dict[str, Any]]):
    assert found[CUT]["error"].startswith("LoRA cut is cut off: ")
    assert found[CUT]["error"].endswith("are there; download it again.")


# -- kinds ------------------------------------------------------------------------------------------------------------

NOT_THE_HOSTS = {"DoRA by row", "GLoRA", "bias alone"}
"""What WebUI 1.10.1 works out in another way, or does not know: GLoRA without alpha."""


@pytest.fixture(scope="module")
def apart(webui_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float | None]:
    """How far WebUI's weight is from ours, by case."""
    lines = lines_of(webui_dir, "compare_kinds.py", tmp_path_factory.mktemp("data-dir"))
    return {line["case"]: line["far"] for line in lines}


@pytest.mark.parametrize("name", sorted(set(cases()) - NOT_THE_HOSTS))
def test_a_kind_is_worked_out_as_webui_does(apart: dict[str, float | None], name: str):
    assert apart[name] is not None
    assert apart[name] < 1e-5
