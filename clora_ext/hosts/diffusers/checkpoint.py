"""Loads a single-file checkpoint of Stable Diffusion 1.x, 2.x or SDXL with diffusers' own conversion."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, create_unet_diffusers_config_from_ldm
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTokenizerFast

from clora_ext.errors import HostError
from clora_ext.hosts.diffusers.architecture import UNET_PREFIX, Family, Numbers, family_of, numbers_of, read_numbers
from clora_ext.hosts.diffusers.encoders import TextEncoder, text_encoders
from clora_ext.hosts.diffusers.schedule import alphas_cumprod
from clora_ext.hosts.diffusers.vocabulary import find_tokenizer

PredictionKind = Literal["epsilon", "v_prediction"]
"""What a UNet predicts, noise or velocity, as diffusers names it."""


@dataclass(frozen=True, slots=True)
class Model:
    """The parts of a latent diffusion model, in evaluation mode."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[TextEncoder, ...]
    tokenizer: CLIPTokenizerFast
    alphas_cumprod: Tensor
    """[1000], float32, computed as ldm does."""
    family: Family = Family.SD1
    prediction: PredictionKind = "epsilon"
    size: int = 512
    """Pixels of a side that it was trained on."""
    unet_names: Mapping[str, str] = field(default_factory=dict)
    """What ldm and sgm call the UNet's layers, and what diffusers calls them."""

    @property
    def device(self) -> torch.device:
        """Where the UNet is; its own property of that name walks through all its layers every time."""
        return self.unet.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the UNet computes in."""
        return self.unet.conv_in.weight.dtype

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the noise schedule ends at pure noise."""
        return float(self.alphas_cumprod[-1]) < 1e-6


def load(
    checkpoint: Path,
    config: Path | None = None,
    tokenizer: Path | None = None,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    prediction: PredictionKind | None = None,
    zero_terminal_snr: bool = False,
) -> Model:
    """Load ``checkpoint`` (ldm or sgm layout, safetensors).

    ``config`` is its yaml, by default the one beside it or that of its kind; ``tokenizer`` a folder with CLIP's
    vocabulary and perhaps the first text encoder's ``config.json``, by default ``tokenizer`` beside it or what this
    machine has. ``prediction`` and ``zero_terminal_snr`` are for a model whose files do not tell. Raises ``HostError``
    when something is missing or does not fit.
    """
    for path in (checkpoint, config, tokenizer):
        if path is not None and not path.exists():
            msg = f"{path.name} is missing in {path.parent}; check the path of the checkpoint."
            raise HostError(msg)
    tensors = _read(checkpoint)
    family = family_of(tensors, checkpoint.name)
    beside = checkpoint.with_suffix(".yaml")
    yaml = config or (beside if beside.is_file() else None)
    numbers = read_numbers(yaml) if yaml else numbers_of(family)
    told = yaml is not None or family is not Family.SD2
    predicts = prediction or _prediction(checkpoint.name, tensors, numbers, told=told)
    folder = tokenizer or checkpoint.parent / "tokenizer"
    words = find_tokenizer(folder)
    encoders = text_encoders(tensors, family, words, folder)
    try:
        unet, names = _unet(tensors, family, numbers, dtype)
        vae = _vae(tensors, family, numbers, dtype)
    except (KeyError, RuntimeError, ValueError) as error:
        why = shorten(str(error), 300)
        msg = f"{checkpoint.name} does not fit its yaml, or is not like other models of {family.value}: {why}"
        raise HostError(msg) from error
    for encoder in encoders:
        encoder.network.eval().to(device=device, dtype=dtype)
    for module in (unet, vae):
        module.eval().to(device)
    schedule = alphas_cumprod(numbers.params, zero_terminal_snr=zero_terminal_snr or "ztsnr" in tensors)
    return Model(unet, vae, encoders, words, schedule.to(device), family, predicts, numbers.size, names)


def _prediction(name: str, tensors: Mapping[str, Tensor], numbers: Numbers, *, told: bool) -> PredictionKind:
    """What the model's files say; newer checkpoints have a key ``v_pred``. Raises ``HostError`` where nothing tells."""
    if not told and "v_pred" not in tensors:
        msg = (
            f"{name} is of Stable Diffusion 2.x, of which some predict noise and some velocity: put its yaml beside it"
            " (v2-inference.yaml or v2-inference-v.yaml, under the checkpoint's name), or say --prediction."
        )
        raise HostError(msg)
    return "v_prediction" if numbers.predicts_v or "v_pred" in tensors else "epsilon"


def _read(checkpoint: Path) -> dict[str, Tensor]:
    try:
        return load_file(str(checkpoint))
    except SafetensorError as error:
        raise HostError(f"{checkpoint.name} is no safetensors file that can be read: {error}") from error


def _unet(
    tensors: Mapping[str, Tensor], family: Family, numbers: Numbers, dtype: torch.dtype
) -> tuple[UNet2DConditionModel, dict[str, str]]:
    """The UNet, and what ldm and sgm call its layers: by diffusers' conversion, which knows SDXL by one width only."""
    config = create_unet_diffusers_config_from_ldm(numbers.yaml, tensors)
    if family is Family.SDXL:
        config |= {"class_embed_type": None, "addition_embed_type": "text_time"}
        config["addition_time_embed_dim"] = numbers.size_width
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(UNET_PREFIX)}
    converted = convert_ldm_unet_checkpoint(dict(own), config)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    unet.load_state_dict({name: tensor.to(dtype) for name, tensor in converted.items()}, assign=True)
    names = {id(tensor): _layer(name) for name, tensor in converted.items()}
    layers = {
        _layer(name.removeprefix(UNET_PREFIX)): names[id(tensor)] for name, tensor in own.items() if id(tensor) in names
    }
    return unet, layers


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _vae(tensors: Mapping[str, Tensor], family: Family, numbers: Numbers, dtype: torch.dtype) -> AutoencoderKL:
    """SDXL's overflows in half precision, so it stays in single precision."""
    exact = torch.float32 if family is Family.SDXL else dtype
    return AutoencoderKL.from_single_file(dict(tensors), original_config=numbers.yaml, torch_dtype=exact)
