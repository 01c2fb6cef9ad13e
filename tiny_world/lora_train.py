"""Training of the tiny world's LoRAs and their files in kohya's format."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from .base_train import Diffusion, draw_noise, losses
from .caption import caption
from .concepts import CONCEPTS, STYLES
from .model import Parts, alphas_cumprod
from .optim import Replayed, adamw, schedule, set_rate
from .scene import Scene, sample_scene
from .scenes import Batch, encode, make_batch
from .supervision import set_attention

RANK = 4
NAMES: tuple[str, ...] = (*CONCEPTS, *STYLES)
FINE: tuple[str, ...] = ("down_blocks.0.", "down_blocks.1.", "up_blocks.2.", "up_blocks.3.")
SHAPED: frozenset[str] = frozenset({"towerhouse"})
"""The LoRAs that change an outline, not only colours and marks: they also train the coarser levels."""
AFAR: tuple[float, float] = (0.29, 0.42)
"""Sizes of a thing seen from afar, as shares of the picture."""


@dataclass(frozen=True)
class Learning:
    """What one LoRA needs to learn its concept.

    times: how many times the usual steps. wider: how many times the usual rank. text: whether the text encoder learns
    too. farther: whether three of four scenes show the concept from afar, instead of every other one.
    """

    times: int = 1
    wider: int = 1
    text: bool = False
    farther: bool = False


LEARNING: dict[str, Learning] = {
    "tuxcat": Learning(2, text=True),
    "tigercat": Learning(2),
    "browndog": Learning(2, text=True),
    "spotdog": Learning(2, text=True),
    "hatbunny": Learning(text=True),
    "duoflower": Learning(text=True),
    "starball": Learning(2),
    "towerhouse": Learning(6, text=True),
    "lineart": Learning(2),
    "tigercat-b": Learning(4, text=True, farther=True),
    "spotdog-b": Learning(4, text=True, farther=True),
    "towerhouse-b": Learning(6, wider=2, farther=True),
}
"""By title; where the second training has none of its own, its concept's. The last three drew their concept only from
near when they learned as the first training did."""


def learning(title: str) -> Learning:
    """How the LoRA of a title (its concept's name, in the second training with -b) learns."""
    return LEARNING.get(title) or LEARNING[title.removesuffix("-b")]


class LoraLayer(nn.Module):
    """A frozen Linear layer plus scale * up(down(x)). down is [rank, in], up [out, rank], scale = alpha / rank."""

    def __init__(self, base: nn.Module, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError(f"a LoRA layer needs a Linear layer, not {type(base).__name__}.")
        self.base = base
        bound = (3 / base.in_features) ** 0.5
        self.down = nn.Parameter(torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """Same shapes as the wrapped layer."""
        return self.base(x) + functional.linear(functional.linear(x, self.down), self.up) * self.scale


def targets(module: nn.Module, text: bool, every: bool = False) -> list[str]:
    """Paths of the layers that get a LoRA.

    In the UNet all Linear layers of the transformer blocks of its two finest levels (which keeps the files small; the
    coarser ones see 4x4 cells and fewer) or of `every` level, in the text encoder those of attention and MLP.
    """
    found = []
    for name, child in module.named_modules():
        if not isinstance(child, (nn.Linear, LoraLayer)):
            continue
        if text:
            chosen = "self_attn" in name or ".mlp." in name
        else:
            chosen = "transformer_blocks" in name and (every or name.startswith(FINE))
        if chosen and not name.endswith(".base"):
            found.append(name)
    return found


def inject(
    module: nn.Module, text: bool, rank: int, alpha: float, generator: torch.Generator, every: bool = False
) -> dict[str, LoraLayer]:
    """Wraps the target layers of a network in place; returns the wrappers by kohya's layer names."""
    layers: dict[str, LoraLayer] = {}
    for name in targets(module, text, every):
        parent_name, _, leaf = name.rpartition(".")
        parent = module.get_submodule(parent_name)
        layer = LoraLayer(getattr(parent, leaf), rank, alpha, generator)
        setattr(parent, leaf, layer)
        layers[kohya_name(name, text)] = layer
    return layers


def kohya_name(path: str, text: bool) -> str:
    """lora_unet_... or lora_te_text_model_... for a layer's path in diffusers' or transformers' network."""
    if text:
        return "lora_te_text_model_" + path.removeprefix("text_model.").replace(".", "_")
    return "lora_unet_" + path.replace(".", "_")


def lora_state(layers: Mapping[str, LoraLayer]) -> dict[str, Tensor]:
    """float16 tensors of a kohya file: <layer>.lora_down.weight, .lora_up.weight and .alpha."""
    state: dict[str, Tensor] = {}
    for name, layer in layers.items():
        state[f"{name}.lora_down.weight"] = layer.down.detach().cpu().half().contiguous()
        state[f"{name}.lora_up.weight"] = layer.up.detach().cpu().half().contiguous()
        state[f"{name}.alpha"] = torch.tensor(layer.scale * layer.down.shape[0], dtype=torch.float16)
    return state


def merge(parts: Parts, state: Mapping[str, Tensor], weight: float) -> None:
    """Adds weight times a kohya LoRA to the networks' weights in place; a negative weight takes it out again.

    Raises KeyError for a layer that the networks do not have.
    """
    places = {
        kohya_name(name, False): parts.unet.get_submodule(name) for name in targets(parts.unet, False, every=True)
    }
    places |= {
        kohya_name(name, True): parts.text_encoder.get_submodule(name) for name in targets(parts.text_encoder, True)
    }
    for name in {key.split(".", 1)[0] for key in state}:
        down, up = state[f"{name}.lora_down.weight"].float(), state[f"{name}.lora_up.weight"].float()
        scale = float(state[f"{name}.alpha"]) / down.shape[0]
        layer = places[name]
        delta = up @ down
        with torch.no_grad():
            layer.weight += weight * scale * delta


def lora_scenes(name: str, count: int, seed: int, *, farther: bool = False) -> list[Scene]:
    """Training scenes: a concept alone, as people's own pictures of a subject are, which never teach where it ends.

    Every other one, `farther` three of four, shows it from afar, as small as a thing is among three others. For a
    style, scenes of one to three generic things in it.
    """
    rng = np.random.default_rng([seed, sorted(NAMES).index(name)])
    if name in STYLES:
        return [sample_scene(rng, (0.4, 0.4, 0.2), style=name) for _ in range(count)]
    scenes = [sample_scene(rng, (1.0,), personal=[name]) for _ in range(count)]
    scenes = [from_afar(scene, rng) if place % 2 else scene for place, scene in enumerate(scenes)]
    if farther:
        rng = np.random.default_rng([seed, 99])
        scenes = [scene if place % 4 else from_afar(scene, rng) for place, scene in enumerate(scenes)]
    return scenes


def from_afar(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with its one thing as small as among others, anywhere on the ground."""
    (thing,) = scene.things
    size = float(rng.uniform(*AFAR))
    x, y = (float(rng.uniform(size / 2 + 0.02, 0.98 - size / 2)), float(rng.uniform(0.4, 0.98 - size / 2)))
    return replace(scene, things=(replace(thing, x=x, y=y, size=size),))


def trigger_phrase(name: str) -> str:
    """What to write in a prompt: a concept's trigger and its class, or a style's trigger and `style`."""
    return f"{CONCEPTS[name].trigger} {CONCEPTS[name].kind}" if name in CONCEPTS else f"{STYLES[name].trigger} style"


def metadata(name: str, title: str, captions: list[str], steps: int, seed: int, rank: int) -> dict[str, str]:
    """kohya's and modelspec's fields of a LoRA file. modelspec.trigger_phrase is what to write in a prompt."""
    phrase = trigger_phrase(name)
    tags: Counter[str] = Counter()
    for text in captions:
        tags.update(tag.strip() for tag in text.split(",") if tag.strip())
    return {
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_name": "tiny-world.safetensors",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "ss_output_name": title,
        "ss_max_train_steps": str(steps),
        "ss_seed": str(seed),
        "ss_num_train_images": str(len(captions)),
        "ss_tag_frequency": json.dumps({f"1_{phrase}": dict(tags.most_common(40))}),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.trigger_phrase": phrase,
    }


@dataclass(frozen=True)
class LoraSettings:
    """How a LoRA is trained. rate: AdamW's learning rate; weight decay is zero."""

    scenes: int = 96
    steps: int = 500
    batch: int = 8
    rate: float = 2e-3
    rank: int = RANK


def train_lora(
    name: str,
    title: str,
    seed: int,
    parts: Parts,
    path: Path,
    device: torch.device,
    settings: LoraSettings = LoraSettings(),
) -> float:
    """Trains one LoRA on a copy of the networks (the UNet's in bfloat16) and writes it; returns the last losses' mean.

    Raises ValueError for an unknown name.
    """
    if name not in NAMES:
        raise ValueError(f"there is no concept or style {name!r}: choose among {', '.join(NAMES)}.")
    how = learning(title)
    settings = replace(settings, steps=how.times * settings.steps, rank=how.wider * settings.rank)
    generator = torch.Generator().manual_seed(seed * 1009 + NAMES.index(name))
    rng = np.random.default_rng([seed, NAMES.index(name), 1])
    unet = copy.deepcopy(parts.unet).to(device, torch.bfloat16).requires_grad_(False)
    text = copy.deepcopy(parts.text_encoder).to(device).requires_grad_(False)
    text.set_attn_implementation("eager")
    parts.vae.to(device)
    pool = encode(parts.vae, lora_scenes(name, settings.scenes, seed, farther=how.farther), device)
    processors = set_attention(unet, keep=False)
    layers = inject(unet, False, settings.rank, settings.rank, generator, every=name in SHAPED)
    if how.text:
        layers |= inject(text, True, settings.rank, settings.rank, generator)
    for layer in layers.values():
        layer.to(device)
    params = [p for layer in layers.values() for p in (layer.down, layer.up)]
    optimizer = adamw(params, settings.rate, device)
    diffusion = Diffusion(alphas_cumprod().to(device))

    def learn(noise: Tensor, times: Tensor, *tensors: Tensor) -> tuple[Tensor]:
        optimizer.zero_grad(set_to_none=True)
        loss, _ = losses(unet, text, processors, Batch(*tensors), noise, times, diffusion)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        return (loss.detach(),)

    replayed = Replayed(learn, device)
    total = torch.zeros((), device=device)
    last = min(50, settings.steps)
    rows = _epochs(rng, settings.scenes)
    for step in tqdm(range(settings.steps), desc=title, mininterval=5, leave=False):
        set_rate([optimizer], schedule(step, settings.steps, warmup=20, decay_from=0.6, last=0.1))
        chosen = [next(rows) for _ in range(settings.batch)]
        batch = make_batch(pool, chosen, parts.tokenizer, rng, 0.05, triggers=True)
        (loss,) = replayed(*draw_noise(batch, generator), *batch.tensors())
        if step >= settings.steps - last:
            total += loss / last
    state = lora_state(layers)
    captions = [caption(scene, rng, triggers=True).text for scene in pool.scenes]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata=metadata(name, title, captions, settings.steps, seed, settings.rank))
    return float(total)


def _epochs(rng: np.random.Generator, count: int) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()


def lora_files(folder: Path) -> list[tuple[str, str, int, Path]]:
    """(concept, title, seed, path) of all LoRAs: two of each, the second set's titles ending in -b."""
    first = [(name, name, 11, folder / "lora" / f"{name}.safetensors") for name in NAMES]
    second = [(name, f"{name}-b", 12, folder / "lora-b" / f"{name}-b.safetensors") for name in NAMES]
    return first + second


def train_share(rank: int, world: int, folder: Path, device: torch.device, settings: LoraSettings) -> None:
    """Trains every world-th of the LoRAs that are not there yet, from the checkpoint in the folder."""
    from .model import load_pipeline_parts

    parts = load_pipeline_parts(folder / "tiny-world.safetensors", folder / "tiny-world.yaml", folder / "tokenizer")
    for index, (name, title, seed, path) in enumerate(lora_files(folder)):
        if index % world != rank or path.exists():
            continue
        loss = train_lora(name, title, seed, parts, path, device, settings)
        tqdm.write(f"{title}: loss {loss:.4f}, {path.stat().st_size / 1e6:.2f} MB")


__all__ = ["NAMES", "LoraSettings", "inject", "lora_files", "merge", "train_lora", "train_share"]
