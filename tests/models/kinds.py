"""SDXL, SD2, v-prediction and inpainting as models for a WebUI: checkpoint, yaml, tokenizer and LoRAs.

Autoencoder, CLIP's text encoder, tokenizer and SD2's UNet are those of the random SD1 checkpoint of the reference
outputs; the rest is drawn. `v_prediction` and `inpainting` make a variant of a model.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.golden.authors.rebuild import parity_folder
from tests.models.layout import TEXT_LAYERS, TEXT_WIDTH, VOCABULARY, below, openclip_text, sdxl_unet
from tests.models.loras import SD2, SDXL, write_lora
from tests.models.weights import Weights, draw
from tests.webui.server import Model

HERE = Path(__file__).resolve().parent
FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"
V_PREDICTION = {"EpsScaling": "VScaling", "parameterization: eps": "parameterization: v"}
INPAINTING = {
    "in_channels: 4": "in_channels: 9",
    "ddpm.LatentDiffusion": "ddpm.LatentInpaintDiffusion",
    "conditioning_key: crossattn": "conditioning_key: hybrid",
    "use_ema: False": "use_ema: False\n    finetune_keys: null",
}
"""Words of a yaml, sgm's or ldm's, and what they become. WebUI tells SDXL inpainting by its channels alone."""

_SD1_PROJECTION = re.compile(r"model\.diffusion_model\..*\.proj_(in|out)\.weight")


def build_all(folder: Path, sd1: Model) -> tuple[Model, ...]:
    """Every kind in `folder`, but for `sd1`, the random checkpoint of the reference outputs.

    tiny-sdxl, tiny-sdxl-v, tiny-sd2, tiny-sd2-v, tiny-sdxl-inpainting and tiny-sd1-inpainting.
    """
    xl, two = sdxl(folder), sd2(folder)
    painters = (inpainting(xl, folder, effect=1), inpainting(sd1, folder, effect=0))
    return (xl, v_prediction(xl, folder), two, v_prediction(two, folder), *painters)


def sdxl(folder: Path) -> Model:
    """tiny-sdxl with the LoRAs xlA and xlB: two text encoders, cross-attention at a half and a quarter."""
    renamed = {name.replace("cond_stage_model", "conditioner.embedders.0"): value for name, value in _parity().items()}
    kept = ("conditioner.", "first_stage_model.")
    weights = {name: value for name, value in renamed.items() if name.startswith(kept)}
    weights |= draw(below("conditioner.embedders.1.model", openclip_text()) | sdxl_unet(), seed=40)
    model = _write(folder, "tiny-sdxl", weights, HERE / "sdxl.yaml")
    loras = {"xlA": 41, "xlB": 42}
    return replace(model, loras=tuple(write_lora(folder, name, seed, weights, SDXL) for name, seed in loras.items()))


def sd2(folder: Path) -> Model:
    """tiny-sd2, which predicts noise, with the LoRAs v2A and v2B: OpenCLIP's text encoder, linear projections."""
    weights = {name: value for name, value in _parity().items() if not name.startswith("cond_stage_model.")}
    weights |= {name: weights[name].flatten(1) for name in filter(_SD1_PROJECTION.fullmatch, weights)}
    weights |= draw(below("cond_stage_model.model", openclip_text()), seed=50)
    model = _write(folder, "tiny-sd2", weights, HERE / "sd2.yaml")
    loras = {"v2A": 51, "v2B": 52}
    return replace(model, loras=tuple(write_lora(folder, name, seed, weights, SD2) for name, seed in loras.items()))


def v_prediction(model: Model, folder: Path) -> Model:
    """The weights and LoRAs of `model` as a model that predicts v; its name ends in "-v"."""
    checkpoint = folder / f"{model.name}-v.safetensors"
    checkpoint.hardlink_to(model.checkpoint)
    return _variant(model, checkpoint, V_PREDICTION)


def eight_heads(model: Model, folder: Path) -> Model:
    """`model` with eight heads of attention, as Stable Diffusion 1.x has; its name ends in "-heads"."""
    checkpoint = folder / f"{model.name}-heads.safetensors"
    checkpoint.symlink_to(model.checkpoint)
    return _variant(model, checkpoint, {"num_heads: 4": "num_heads: 8"})


def inpainting(model: Model, folder: Path, effect: float) -> Model:
    """`model` with five more channels going in: mask, and latent of the masked picture; its name ends in "-inpainting".

    `effect` is the size of their weights. With 0 it draws what `model` draws.
    """
    checkpoint = folder / f"{model.name}-inpainting.safetensors"
    weights = load_file(model.checkpoint)
    first = weights[FIRST_CONVOLUTION]
    more = draw({FIRST_CONVOLUTION: (first.shape[0], 5, *first.shape[2:])}, seed=60)[FIRST_CONVOLUTION]
    weights[FIRST_CONVOLUTION] = torch.cat([first, effect * more], dim=1)
    save_file(weights, checkpoint)
    return _variant(model, checkpoint, INPAINTING)


def _variant(model: Model, checkpoint: Path, words: Mapping[str, str]) -> Model:
    """`model` with another checkpoint, and a config beside it in which `words` are exchanged."""
    config = model.config.read_text(encoding="utf-8")
    for old, new in words.items():
        config = config.replace(old, new)
    path = checkpoint.with_suffix(".yaml")
    path.write_text(config, encoding="utf-8")
    return replace(model, checkpoint=checkpoint, config=path)


def _write(folder: Path, name: str, weights: Weights, config: Path) -> Model:
    """Write a checkpoint, and the tokenizer with open_clip's description of its text encoder."""
    checkpoint, tokenizer = folder / f"{name}.safetensors", folder / "tiny-clip"
    save_file(weights, checkpoint)
    shutil.copytree(parity_folder() / "tiny-clip", tokenizer, dirs_exist_ok=True)
    text = {"context_length": 77, "vocab_size": VOCABULARY, "width": TEXT_WIDTH, "heads": 4, "layers": TEXT_LAYERS}
    picture = {"image_size": 32, "patch_size": 16, "width": TEXT_WIDTH, "layers": 1}  # WebUI makes it and deletes it
    described = {"embed_dim": TEXT_WIDTH, "text_cfg": text, "vision_cfg": picture}
    (tokenizer / "tiny-openclip.json").write_text(json.dumps(described), encoding="utf-8")
    return Model(checkpoint, config, tokenizer)


def _parity() -> Weights:
    return load_file(parity_folder() / "checkpoint" / "tiny-sd1.safetensors")
