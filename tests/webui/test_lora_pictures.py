"""LoRA files of every naming, kind and fault through the real WebUI's API: pictures and sentences."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clora_ext.lora.differences import INPUTS
from clora_ext.lora.peft import as_lycoris
from tests.webui.conftest import CHECKOUT, OVERRIDDEN
from tests.webui.jobs import BINDINGS, PROMPT, SMALL, compose, draw, fields, require_alike
from tests.webui.server import SMALL_JOB, Model, Setup, WebUI

Tensors = dict[str, Tensor]
CAT, DOG = BINDINGS
CONV, NORM = "lora_unet_down_blocks_0_resnets_0_conv1", "lora_unet_down_blocks_0_resnets_0_norm1"
WIDTH = 32
"""Channels of both."""

# -- files ------------------------------------------------------------------------------------------------------------


def _dotted(layer: str) -> str:
    """diffusers' name of a layer of kohya's."""
    words = re.sub(r"_(\d+)(?=_|$)", r".\1.", re.sub(r"^lora_(unet|te)_", "", layer)).replace("._", ".").rstrip(".")
    words = re.sub(r"(attn\d?|mlp|text_model|encoder|ff|net)_(?=[a-z])", r"\1.", words)
    return ("text_encoder." if layer.startswith("lora_te") else "unet.") + words


def _renamed(tensors: Tensors, down: str, up: str) -> Tensors:
    found: Tensors = {}
    for key, tensor in tensors.items():
        layer, _, part = key.partition(".")
        if part != "alpha":  # of tinyA, its rank
            found[_dotted(layer) + (down if part.startswith("lora_down") else up)] = tensor
    return found


NAMINGS: dict[str, Callable[[Tensors], Tensors]] = {
    "diffusers": lambda tensors: _renamed(tensors, ".lora.down.weight", ".lora.up.weight"),
    "linear": lambda tensors: _renamed(tensors, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    "peft": lambda tensors: {
        f"base_model.model.{key}": part
        for key, part in _renamed(tensors, ".lora_A.weight", ".lora_B.default.weight").items()
    },
    "twice": lambda tensors: {key.replace("lora_unet_", "lora_unet_unet_"): part for key, part in tensors.items()},
}


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape) * 0.3 / max(shape[-1:] or (1,)) ** 0.5


def _on_layers(tensors: Tensors, parts: Callable[[int], Tensors]) -> Tensors:
    """Parts for every square attention layer, from its size."""
    found: Tensors = {}
    for key, down in tensors.items():
        layer, _, part = key.partition(".")
        if part == "lora_down.weight" and layer.endswith(("attn1_to_q", "attn1_to_v", "attn1_to_out_0")):
            found |= {f"{layer}.{name}": tensor for name, tensor in parts(down.shape[1]).items()}
    return found


def _low_rank(size: int) -> Tensors:
    return {
        "lora_down.weight": _random(4, size),
        "lora_up.weight": torch.randn(size, 4) * 0.3,
        "alpha": torch.tensor(3.0),
    }


def _hada(size: int) -> Tensors:
    return {
        f"hada_w{n}_{side}": torch.randn(shape) for n in "12" for side, shape in (("a", (size, 2)), ("b", (2, size)))
    }


def _glora(size: int) -> Tensors:
    sizes = {"a1": (2, size), "a2": (size, 2), "b1": (2, size), "b2": (size, 2)}
    return {f"{name}.weight": torch.randn(shape) * 0.2 for name, shape in sizes.items()} | {"alpha": torch.tensor(1.0)}


KINDS: dict[str, Callable[[int], Tensors]] = {
    "loha": lambda size: {name: part * 0.2 for name, part in _hada(size).items()},
    "lokr": lambda size: {"lokr_w1": _random(4, 4), "lokr_w2": _random(size // 4, size // 4)},
    "ia3": lambda size: {"weight": torch.randn(size), "on_input": torch.tensor(False)},
    "oft": lambda size: {"oft_blocks": torch.randn(size // 8, 8, 8) * 0.5},
    "boft": lambda size: {"oft_blocks": torch.randn(2, size // 4, 4, 4) * 0.5},
    "glora": _glora,
    "full": lambda size: {"diff": torch.randn(size, size) * 0.1},
    "dora": lambda size: _low_rank(size) | {"dora_scale": torch.rand(1, size)},
    "bf16": lambda size: {name: part.to(torch.bfloat16) for name, part in _low_rank(size).items()},
}
OF_A_CONVOLUTION: dict[str, Tensors] = {
    "tucker": {"lora_down.weight": _random(4, WIDTH, 1, 1), "lora_up.weight": _random(WIDTH, 4, 1, 1),
               "lora_mid.weight": torch.randn(4, 4, 3, 3)},
    "locon": {"lora_down.weight": _random(4, WIDTH, 3, 3), "lora_up.weight": torch.randn(WIDTH, 4, 1, 1)},
}  # fmt: skip


def _numbers(*shape: int) -> Tensor:
    """The same for the same shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.3


def _turned(size: int) -> Tensors:
    """PEFT's OFT as a GLoRA: a weight times what rotations of its inputs add to 1."""
    rotations = as_lycoris({"layer.oft_R": _numbers(size // 8, 28)}, None)[f"layer.{INPUTS}"]
    one = torch.eye(size)
    glora = {"a1": one, "a2": torch.block_diag(*rotations).T - one, "b1": one[:1] * 0.0, "b2": one[:, :1] * 0.0}
    return {f"{name}.weight": part.contiguous() for name, part in glora.items()} | {"alpha": torch.tensor(1.0)}


OF_PEFT: dict[str, tuple[Callable[[int], Tensors], Callable[[int], Tensors]]] = {
    "IA3": (
        lambda size: {"ia3_l": _numbers(size)[:, None] + 1.0},
        lambda size: {"weight": _numbers(size), "on_input": torch.tensor(False)},
    ),
    "OFT": (lambda size: {"oft_R.weight": _numbers(size // 8, 28)}, _turned),
}
"""Kinds that PEFT writes in another way, and the same as WebUI reads it."""


def _of_peft(tensors: Tensors) -> Iterator[tuple[str, Tensors]]:
    for name, (theirs, known) in OF_PEFT.items():
        yield f"known-{name}", _on_layers(tensors, known)
        split = ((*key.partition("."), part) for key, part in _on_layers(tensors, theirs).items())
        yield f"peft-{name}", {f"base_model.model.{_dotted(layer)}.{end}": part for layer, _, end, part in split}


def _norm() -> Tensors:
    return {f"{NORM}.w_norm": torch.randn(WIDTH), f"{NORM}.b_norm": torch.randn(WIDTH)}


def _of_kinds(tensors: Tensors) -> Iterator[tuple[str, Tensors]]:
    for name, parts in KINDS.items():
        yield name, _on_layers(tensors, parts)
    for name, own in OF_A_CONVOLUTION.items():
        yield name, {f"{CONV}.{part}": tensor for part, tensor in own.items()}
    yield "norm", _norm()
    yield "ranks", _on_layers(tensors, _low_rank) | {key: part for key, part in tensors.items() if "attn2" in key}


def _with_embedding(tensors: Tensors) -> Tensors:
    width = next(part.shape[1] for key, part in tensors.items() if key.endswith("q_proj.lora_down.weight"))
    return tensors | {"bundle_emb.zzz.string_to_param.*": torch.randn(1, width)}


def _changed(tensors: Tensors, change: Callable[[Tensors, str], None]) -> Tensors:
    found = {key: part.clone() for key, part in tensors.items()}
    change(found, next(key for key in found if key.endswith("attn2_to_k.lora_up.weight")))
    return found


FAULTS: dict[str, tuple[Callable[[Tensors, str], None], str]] = {
    "half": (lambda found, key: found.pop(key), "but no lora_up.weight; download it again, or save it again"),
    "nan": (lambda found, key: found[key].fill_(float("nan")), "has numbers that are not finite; take another save"),
    "wide": (lambda found, key: found.update({key: torch.zeros(7, 4)}), "does not fit this checkpoint: layer"),
    "sdxl": (
        lambda found, key: found.update({f"lora_te2_{key[10:]}": found.pop(key)}),
        "was made for SDXL, this checkpoint is Stable Diffusion 1.x",
    ),
}
SPOILT = {
    "cut": (lambda whole: whole[: len(whole) // 2], "is cut off: "),
    "page": (lambda _: b"<!DOCTYPE html>" + bytes(100), "is a page of the web, not a LoRA"),
}


@pytest.fixture(scope="module")
def host(webui_dir: Path, parity_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUI]:
    """A WebUI with all the files."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("files")
    path = next(lora for lora in parity_model.loras if lora.stem == "tinyA")
    tensors = load_file(path)
    made = {name: make(tensors) for name, make in NAMINGS.items()} | dict(_of_kinds(tensors))
    made |= dict(_of_peft(tensors))
    made["embedding"] = _with_embedding(tensors)
    made |= {name: _changed(tensors, change) for name, (change, _) in FAULTS.items()}
    for name, file in made.items():
        save_file(file, str(folder / f"{name}.safetensors"))
    for name, (change, _) in SPOILT.items():
        (folder / f"{name}.safetensors").write_bytes(change(path.read_bytes()))
    model = replace(parity_model, loras=(*parity_model.loras, *sorted(folder.iterdir())))
    with WebUI(Setup(webui_dir, model, (CHECKOUT,), ui=False, settings=OVERRIDDEN)) as running:
        yield running


@pytest.fixture(scope="module")
def good(host: WebUI) -> str:
    """The digest of a picture of tinyA and tinyB."""
    return compose(host, **SMALL).sha1


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.row("LoRA files", "works", name="names: {name}")
@pytest.mark.parametrize("name", NAMINGS)
def test_names_that_webui_does_not_read_compose_as_kohyas(host: WebUI, good: str, name: str):
    plain = draw(host, **SMALL).sha1
    tagged = {"prompt": f"{PROMPT} <lora:{name}:1>", **SMALL}
    alone = draw(host, **tagged).sha1
    assert name == "twice" or alone == plain, "WebUI itself reads nothing of it"
    assert compose(host, {"bindings": [{**CAT, "lora": name}, DOG]}, **SMALL).sha1 == good
    merged = compose(host, {"bindings": [{**CAT, "lora": name}, DOG], "method": "merge"}, **SMALL)
    assert merged.sha1 == compose(host, {"method": "merge"}, **SMALL).sha1
    assert draw(host, **tagged).sha1 == alone, "something of ours is left in WebUI"
    assert draw(host, **SMALL).sha1 == plain


# -- kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.row("LoRA files", "works", name="kind: {name}")
@pytest.mark.parametrize("name", [*KINDS, *OF_A_CONVOLUTION, "norm", "ranks"])
def test_a_kind_that_is_alone_in_its_branch_is_webuis_picture_with_it(host: WebUI, name: str):
    bindings = [{"lora": name, "subject": "cat", "trigger": ""}, {**DOG, "trigger": ""}]
    ours = compose(host, {"bindings": bindings, "method": "switch", "switch_every": 100}, **SMALL)
    theirs = draw(host, prompt=f"{PROMPT} <lora:{name}:1>", **SMALL)
    require_alike(ours.images[0], theirs.images[0])
    assert theirs.sha1 != draw(host, **SMALL).sha1


@pytest.mark.row("LoRA files", "works", name="kind: {name} of PEFT")
@pytest.mark.parametrize("name", OF_PEFT)
def test_what_peft_writes_in_another_way_composes_as_what_webui_reads(host: WebUI, good: str, name: str):
    theirs, known = (
        compose(host, {"bindings": [{**CAT, "lora": f"{way}-{name}"}, DOG]}, **SMALL) for way in ("peft", "known")
    )
    require_alike(theirs.images[0], known.images[0])
    assert theirs.sha1 != good
    assert compose(host, **SMALL).sha1 == good


# -- embeddings ------------------------------------------------------------------------------------------------------


@pytest.mark.row("LoRA files", "works", name="an embedding in the file")
def test_an_embedding_that_a_lora_brings_along_goes_with_it(host: WebUI):
    asked = {"prompt": "a zzz cat and a dog", **SMALL}
    plain = draw(host, **asked).sha1
    without = compose(host, **asked)
    with_it = compose(host, {"bindings": [{**CAT, "lora": "embedding"}, DOG]}, **asked)
    assert with_it.sha1 != without.sha1
    assert draw(host, **asked).sha1 == plain


# -- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.row("LoRA files", "refused in a sentence", name="fault: {name}")
@pytest.mark.parametrize("name", [*FAULTS, *SPOILT])
def test_a_fault_is_told_before_anything_is_drawn(host: WebUI, good: str, name: str):
    words = {**FAULTS, **SPOILT}[name][1]
    asked = fields(bindings=[{**CAT, "lora": name}, DOG])
    answer = host.post("/sdapi/v1/txt2img", {**SMALL_JOB, "prompt": PROMPT, **SMALL, **asked})
    assert answer.status_code == 422, answer.text
    told = answer.json()["detail"]
    assert told.startswith(f"lora: LoRA {name} ")
    assert words in told
    assert told.endswith(".")
    assert compose(host, **SMALL).sha1 == good


@pytest.mark.parametrize(
    ("name", "words"), [("sdxl", "was made for SDXL"), ("cut", "is cut off: "), ("page", "a page")]
)
def test_a_fault_that_the_header_shows_is_forecast(host: WebUI, name: str, words: str):
    asked = {"prompt": f"{PROMPT} <lora:{name}:1:bind=cat> <lora:tinyB:1:bind=dog>", "clora": {}}
    told = host.post("/clora/v1/tokenize", asked).json()
    assert any(words in problem["message"] for problem in told["problems"]), told["problems"]
