"""What kind of model a checkpoint is, and the numbers of its parts: ldm's or sgm's yaml, or those of its kind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from clora_ext.errors import HostError

UNET_PREFIX = "model.diffusion_model."
"""ldm's and sgm's key prefix of the UNet."""
VAE_PREFIX = "first_stage_model."
"""Their key prefix of the autoencoder."""


class Family(Enum):
    """What the embedded host draws with, by the name that people know."""

    SD1 = "Stable Diffusion 1.x"
    SD2 = "Stable Diffusion 2.x"
    SDXL = "SDXL"


_TOLD_BY = {
    "conditioner.embedders.1.model.ln_final.weight": Family.SDXL,
    "cond_stage_model.model.ln_final.weight": Family.SD2,
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": Family.SD1,
    "cond_stage_model.transformer.final_layer_norm.weight": Family.SD1,
}
_TEXT_WIDTHS = {768: Family.SD1, 1024: Family.SD2, 2048: Family.SDXL}


def family_of(tensors: Mapping[str, Tensor], name: str) -> Family:
    """The kind of a checkpoint, told by its text encoders. Raises ``HostError`` for all but text-to-image models."""
    found = [family for key, family in _TOLD_BY.items() if key in tensors]
    first = tensors.get(f"{UNET_PREFIX}input_blocks.0.0.weight")
    if not found or first is None or not any(key.startswith(VAE_PREFIX) for key in tensors):
        msg = f"{name} is no whole checkpoint of Stable Diffusion 1.x, 2.x or SDXL: choose one with all its parts."
        raise HostError(msg)
    if first.shape[1] != 4:
        msg = f"{name} is a model for inpainting or editing; choose one that draws from a text alone."
        raise HostError(msg)
    return found[0]


def told_by_width(width: int) -> str:
    """The kind of model whose UNet reads texts of that width, in words."""
    family = _TEXT_WIDTHS.get(width)
    return family.value if family else f"a model with texts {width} wide"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A checkpoint's yaml, as ldm and sgm write it."""

    yaml: Mapping[str, Any]

    @property
    def params(self) -> Mapping[str, Any]:
        """Those of the whole model."""
        found: Mapping[str, Any] = self.yaml["model"]["params"]
        return found

    @property
    def size(self) -> int:
        """Pixels of a side that it was trained on; sgm's files do not say."""
        return 8 * int(self.params.get("image_size", 128))

    @property
    def predicts_v(self) -> bool:
        """Whether the UNet predicts velocity: ldm's ``parameterization``, sgm's ``VScaling``."""
        denoiser = self.params.get("denoiser_config", {}).get("params", {})
        scaling: str = denoiser.get("scaling_config", {}).get("target", "")
        return self.params.get("parameterization") == "v" or scaling.endswith(".VScaling")

    @property
    def size_width(self) -> int:
        """The width of the embedding of each number of a picture's size (sgm's ``ConcatTimestepEmbedderND``)."""
        embedders = self.params.get("conditioner_config", {}).get("params", {}).get("emb_models", [])
        widths = [part["params"]["outdim"] for part in embedders if "outdim" in part.get("params", {})]
        return widths[0] if widths else 256


def read_numbers(path: Path) -> Numbers:
    """Read a yaml; the name of a tokenizer in it may be a blank to fill in. Raises ``HostError`` for another file."""
    text = re.sub(r'(version:\s*)"?@\w+@"?', r"\1tokenizer", path.read_text(encoding="utf-8"))
    found = yaml.safe_load(text)
    if not isinstance(found, dict) or "params" not in found.get("model", {}):
        msg = f"{path.name} is not the yaml of a checkpoint, as ldm and sgm write it; remove it or put the right one."
        raise HostError(msg)
    return Numbers(found)


_EVERY_UNET = {"in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": 2}
_FOUR_LEVELS = {"attention_resolutions": [4, 2, 1], "channel_mult": [1, 2, 4, 4], "transformer_depth": 1}
_LINEAR = {"num_head_channels": 64, "use_linear_in_transformer": True}
_UNETS: Mapping[Family, Mapping[str, Any]] = {
    Family.SD1: {**_FOUR_LEVELS, "num_heads": 8, "context_dim": 768},
    Family.SD2: {**_FOUR_LEVELS, **_LINEAR, "context_dim": 1024},
    Family.SDXL: {
        **_LINEAR,
        "attention_resolutions": [4, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [1, 2, 10],
        "context_dim": 2048,
        "num_classes": "sequential",
        "adm_in_channels": 2816,
    },
}
_AUTOENCODER = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
}


def numbers_of(family: Family) -> Numbers:
    """Those of the kind's published models (v1-inference, v2-inference and sd_xl_base yaml)."""
    own = {"scale_factor": 0.13025} if family is Family.SDXL else {"scale_factor": 0.18215, "image_size": 64}
    params = {
        **own,
        "unet_config": {"params": {**_EVERY_UNET, **_UNETS[family]}},
        "first_stage_config": {"params": {"ddconfig": _AUTOENCODER}},
    }
    return Numbers({"model": {"params": params}})
