"""The whole procedure of CLoRA's authors on an SD1 checkpoint with diffusers' modules, on the CPU, as plain as can be.

Every branch has its own copy of the text encoder and of the UNet with its LoRAs merged into the weights; one UNet call
a branch and step on [uncond, cond]; the gradient is autograd's through all branches. Sampler, noise and picture are
made as WebUI makes them (DDIM, eta 0).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from diffusers.models.attention_processor import Attention
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from . import maths
from .step import Branch, BranchOutput, StepResult, StepSettings, run_step

TOKENS = 77
"""Length of CLIP's input: start, 75 tokens of the prompt or padding, end."""


# --- what is asked for ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoraUse:
    """One LoRA on one branch."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class BranchSpec:
    """One branch: its texts and the LoRAs that are active in it (text encoder and UNet alike)."""

    prompt: str
    negative: str = ""
    loras: tuple[LoraUse, ...] = ()


@dataclass(frozen=True)
class Job:
    """Everything that makes a picture."""

    branches: tuple[BranchSpec, ...]
    """Base first, then one a subject."""
    groups: tuple[maths.Group, ...]
    """Token maps of each concept per branch, for the loss."""
    mask_tokens: tuple[tuple[int, ...], ...]
    """Tokens of each branch's own prompt that its mask is made of; none for the base."""
    seeds: tuple[int, ...] = (1,)
    """One picture a seed, each on its own."""
    width: int = 512
    height: int = 512
    steps: int = 10
    """As asked of WebUI, whose DDIM makes one UNet call less."""
    guidance: float = 7.5
    threshold: float = 0.3
    temperature: float = 0.5
    alpha: float = 20.0
    update_until: int = 0
    """The latent is updated at every step of an index below this (i_max); 0: never."""
    extra_steps: tuple[int, ...] = ()
    """Step indices (below `update_until`) with extra rounds."""
    extra_rounds: int = 0
    operations: tuple[str, ...] = ()
    map_factor: int = 4
    """Size of the latent over that of the maps."""

    def rounds(self, index: int) -> int:
        """Number of latent updates at the step of this index."""
        if index >= self.update_until:
            return 0
        return 1 + (self.extra_rounds if index in self.extra_steps else 0)

    def step_settings(self, index: int) -> StepSettings:
        """The settings of the step of this index."""
        return StepSettings(
            guidance=self.guidance,
            threshold=self.threshold,
            temperature=self.temperature,
            alpha=self.alpha,
            rounds=self.rounds(index),
            operations=self.operations,
        )


@dataclass(frozen=True)
class Picture:
    """One finished picture and how it came about."""

    seed: int
    pixels: np.ndarray
    """[height, width, 3], uint8."""
    latent: Tensor
    """Final latent [1, 4, height / 8, width / 8], before the division by the VAE's scale."""
    steps: tuple[StepResult, ...]

    @property
    def masks(self) -> Tensor:
        """Masks [step, branch, h, w], uint8."""
        return torch.stack([torch.stack(step.masks) for step in self.steps]).to(torch.uint8)


# --- model ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """An SD1 model in diffusers' modules."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    tokenizer: CLIPTokenizer
    alphas_cumprod: Tensor
    """[1000]"""


def load_model(checkpoint: Path, config: Path, clip: Path) -> Model:
    """Load an SD1 single-file checkpoint.

    `config` is its yaml, `clip` the folder with the text encoder's config and the tokenizer's files. Conversion to
    diffusers' layout is diffusers' own. Raises KeyError or RuntimeError if weights are missing.
    """
    weights = load_file(checkpoint)
    original = yaml.safe_load(config.read_text(encoding="utf-8").replace("@TINY_CLIP@", str(clip)))

    unet_config = single_file_utils.create_unet_diffusers_config_from_ldm(original, weights)
    unet = UNet2DConditionModel(**unet_config)
    unet.load_state_dict(single_file_utils.convert_ldm_unet_checkpoint(dict(weights), unet_config))

    vae_config = single_file_utils.create_vae_diffusers_config_from_ldm(original, weights)
    vae = AutoencoderKL(**vae_config)
    vae.load_state_dict(single_file_utils.convert_ldm_vae_checkpoint(dict(weights), vae_config))

    text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(clip))
    text_weights = {
        key.removeprefix("text_model."): value
        for key, value in single_file_utils.convert_ldm_clip_checkpoint(dict(weights)).items()
        if not key.endswith("position_ids")
    }
    text_model = getattr(text_encoder, "text_model", text_encoder)
    text_model.load_state_dict(text_weights)

    for module in (unet, vae, text_encoder):
        module.eval().requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(clip)
    return Model(unet, text_encoder, vae, tokenizer, cumulated_alphas(original["model"]["params"]))


def cumulated_alphas(params: dict) -> Tensor:
    """SD1's scaled-linear schedule: product of 1 - beta, beta the square of a line from sqrt(start) to sqrt(end)."""
    start, end = math.sqrt(params["linear_start"]), math.sqrt(params["linear_end"])
    product, result = 1.0, []
    for t in range(1000):
        beta = (start + (end - start) * t / 999) ** 2
        product *= 1 - beta
        result.append(product)
    return torch.tensor(result, dtype=torch.float64)


# --- LoRA -------------------------------------------------------------------------------------------------------------


def merge_lora(module: nn.Module, prefix: str, weights: dict[str, Tensor], weight: float) -> int:
    """Add weight * alpha / rank * up @ down to the layers of `module`, in place; returns the number of layers.

    `prefix` is kohya's ("lora_unet", "lora_te"); a layer's name follows with underscores for dots. Linear layers and
    convolutions of any kernel size (up is then 1x1). Raises KeyError if a layer of this prefix does not exist,
    ValueError for a kind of weight that is not plain LoRA.
    """
    layers = {
        f"{prefix}_{name.removeprefix('text_model.').replace('.', '_')}": layer
        for name, layer in module.named_modules()
    }
    names = sorted({key.split(".", 1)[0] for key in weights if key.startswith(f"{prefix}_")})
    for name in names:
        kinds = {key.split(".", 1)[1] for key in weights if key.split(".", 1)[0] == name}
        if kinds - {"alpha"} != {"lora_up.weight", "lora_down.weight"}:
            raise ValueError(f"{name} is no plain LoRA layer: {sorted(kinds)}.")
        down, up = weights[f"{name}.lora_down.weight"], weights[f"{name}.lora_up.weight"]
        rank = down.shape[0]
        alpha = float(weights[f"{name}.alpha"]) if "alpha" in kinds else float(rank)
        layer = layers[name.replace("lora_te_text_model_", "lora_te_")]
        delta = (up.flatten(1).double() @ down.flatten(1).double()).reshape(layer.weight.shape)
        with torch.no_grad():
            layer.weight += (weight * alpha / rank * delta).to(layer.weight.dtype)
    return len(names)


def with_loras(model: Model, uses: Sequence[LoraUse], files: dict[str, Path]) -> tuple[nn.Module, nn.Module]:
    """Copies of the model's text encoder and UNet with the LoRAs merged in."""
    text_encoder, unet = copy.deepcopy(model.text_encoder), copy.deepcopy(model.unet)
    for use in uses:
        weights = load_file(files[use.name])
        layers = merge_lora(text_encoder, "lora_te", weights, use.weight)
        layers += merge_lora(unet, "lora_unet", weights, use.weight)
        if layers != len({key.split(".", 1)[0] for key in weights}):
            raise KeyError(f"{use.name} has layers that are neither the UNet's nor the text encoder's.")
    return text_encoder, unet


# --- text -------------------------------------------------------------------------------------------------------------


def tokenize(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """Token ids of a text, start and end included, filled with the end token to 77.

    Raises ValueError for a text of more than 75 tokens.
    """
    ids = tokenizer(text)["input_ids"]
    if len(ids) > TOKENS:
        raise ValueError(f"The prompt has {len(ids) - 2} tokens; shorten it to {TOKENS - 2}: {text!r}")
    return list(ids) + [tokenizer.eos_token_id] * (TOKENS - len(ids))


def find_tokens(tokenizer: CLIPTokenizer, prompt: str, phrase: str, occurrence: int = 0) -> list[int]:
    """Positions of a phrase's tokens in a prompt (0 is the start token); `occurrence` counts from 0.

    Raises ValueError if the phrase does not occur that often.
    """
    ids, wanted = tokenizer(prompt)["input_ids"], tokenizer(phrase)["input_ids"][1:-1]
    found = [i for i in range(len(ids) - len(wanted) + 1) if ids[i : i + len(wanted)] == wanted]
    if occurrence >= len(found):
        raise ValueError(f"{phrase!r} occurs {len(found)} times in {prompt!r}; name an occurrence below that.")
    start = found[occurrence]
    return list(range(start, start + len(wanted)))


def encode(text_encoder: nn.Module, tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Text conditioning [texts, 77, width]: the last layer after the final normalisation."""
    ids = torch.tensor([tokenize(tokenizer, text) for text in texts])
    with torch.no_grad():
        return text_encoder(input_ids=ids).last_hidden_state


# --- attention maps ---------------------------------------------------------------------------------------------------


class MapRecorder:
    """Cross-attention written out, keeping the probabilities of the layers with the wanted number of queries."""

    def __init__(self, queries: int) -> None:
        self.queries = queries
        self.probabilities: list[Tensor] = []
        """One tensor [batch, heads, queries, tokens] a layer, in the order of the calls."""

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, **unused: object
    ) -> Tensor:
        """Attention of hidden states [batch, queries, width] to the text [batch, tokens, width]."""
        batch, queries, _ = hidden_states.shape

        def heads(x: Tensor) -> Tensor:
            return x.reshape(batch, x.shape[1], attn.heads, -1).transpose(1, 2)

        q = heads(attn.to_q(hidden_states))
        k = heads(attn.to_k(encoder_hidden_states))
        v = heads(attn.to_v(encoder_hidden_states))
        probabilities = torch.softmax(q @ k.transpose(-1, -2) * attn.scale, dim=-1)
        if queries == self.queries:
            self.probabilities.append(probabilities)
        out = (probabilities @ v).transpose(1, 2).reshape(batch, queries, -1)
        return attn.to_out[1](attn.to_out[0](out))


def record_maps(unet: nn.Module, queries: int) -> MapRecorder:
    """Put one recorder into all cross-attention layers (attn2) of a UNet."""
    recorder = MapRecorder(queries)
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            module.set_processor(recorder)
    return recorder


def mean_maps(probabilities: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Maps [tokens, height, width]: plain mean over layers, heads and the batch (uncond and cond halves)."""
    rows = [layer[b, h] for layer in probabilities for b in range(layer.shape[0]) for h in range(layer.shape[1])]
    mean = sum(rows[1:], rows[0]) / len(rows)
    return mean.transpose(0, 1).reshape(-1, height, width)


# --- the procedure ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PreparedBranch:
    """A branch's UNet with its LoRAs and the conditioning of its texts."""

    unet: nn.Module
    recorder: MapRecorder
    context: Tensor
    """[2, 77, width]: negative prompt, prompt."""
    map_height: int
    map_width: int

    def at(self, timestep: int) -> Branch:
        """The branch as a function of the latent at a timestep."""

        def call(z: Tensor) -> BranchOutput:
            self.recorder.probabilities = []
            times = torch.full((2,), timestep, dtype=z.dtype)
            both = self.unet(torch.cat([z, z]), times, encoder_hidden_states=self.context).sample
            maps = mean_maps(self.recorder.probabilities, self.map_height, self.map_width)
            self.recorder.probabilities = []
            return BranchOutput(uncond=both[:1], cond=both[1:], maps=maps)

        return call


def prepare(model: Model, job: Job, files: dict[str, Path]) -> list[PreparedBranch]:
    """Every branch's copy of the model with its LoRAs, and its texts encoded with them."""
    height, width = job.height // 8 // job.map_factor, job.width // 8 // job.map_factor
    prepared = []
    for spec in job.branches:
        text_encoder, unet = with_loras(model, spec.loras, files)
        context = encode(text_encoder, model.tokenizer, [spec.negative, spec.prompt])
        prepared.append(PreparedBranch(unet, record_maps(unet, height * width), context, height, width))
    return prepared


def first_noise(seed: int, height: int, width: int) -> Tensor:
    """The latent noise [1, 4, height / 8, width / 8] that WebUI starts with on the CPU."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn([4, height // 8, width // 8], generator=generator)[None]


def decode(model: Model, latent: Tensor) -> np.ndarray:
    """Final latent [1, 4, h, w] to pixels [8 h, 8 w, 3] in uint8, truncated as WebUI does it."""
    with torch.no_grad():
        image = model.vae.decode(latent / model.vae.config.scaling_factor).sample[0]
    unit = torch.clamp((image + 1.0) / 2.0, min=0.0, max=1.0)
    return (255.0 * unit.permute(1, 2, 0).numpy()).astype(np.uint8)


def denoise(
    model: Model,
    job: Job,
    prepared: Sequence[PreparedBranch],
    seed: int,
    on_step: Callable[[int, StepResult], None] | None = None,
    stop_after: int | None = None,
) -> tuple[Tensor, tuple[StepResult, ...]]:
    """One picture's final latent [1, 4, height / 8, width / 8] and its steps; `stop_after` ends after so many steps."""
    z = first_noise(seed, job.height, job.width)
    steps = []
    for index, (timestep, following) in enumerate(maths.ddim_schedule(job.steps)[:stop_after]):
        branches = [branch.at(timestep) for branch in prepared]
        result = run_step(z, branches, job.groups, job.mask_tokens, job.step_settings(index))
        alpha, alpha_next = (float(model.alphas_cumprod[t]) for t in (timestep, following))
        z = maths.ddim_step(result.z, result.prediction, alpha, alpha_next)
        steps.append(result)
        if on_step is not None:
            on_step(index, result)
    return z, tuple(steps)


def sample(
    model: Model,
    job: Job,
    prepared: Sequence[PreparedBranch],
    seed: int,
    on_step: Callable[[int, StepResult], None] | None = None,
) -> Picture:
    """One picture of a job."""
    latent, steps = denoise(model, job, prepared, seed, on_step)
    return Picture(seed, decode(model, latent), latent, steps)


def run(
    model: Model, job: Job, files: dict[str, Path], on_step: Callable[[int, StepResult], None] | None = None
) -> list[Picture]:
    """All pictures of a job; `files` gives each LoRA's path by its name."""
    prepared = prepare(model, job, files)
    return [sample(model, job, prepared, seed, on_step) for seed in job.seeds]
