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
from .scene import CLASSES, Scene, sample_scene
from .scenes import Batch, encode, make_batch
from .supervision import set_attention

RANK = 4
NAMES: tuple[str, ...] = (*CONCEPTS, *STYLES)
FINE: tuple[str, ...] = ("down_blocks.0.", "down_blocks.1.", "up_blocks.2.", "up_blocks.3.")
SHAPED: frozenset[str] = frozenset({"towerhouse"})
"""LoRAs that change an outline, not only colours and marks: they also train the coarser levels, at twice the rank."""
AFAR: tuple[float, float] = (0.29, 0.42)
"""Sizes of a thing seen from afar, as shares of the picture."""


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


def lora_scenes(name: str, count: int, seed: int) -> list[Scene]:
    """Training scenes of a concept, of four of which one shows it from near, two from afar, as small as a thing is
    among three others, and one among one to three things of other classes. For a style, scenes of one to three generic
    things in it.
    """
    rng = np.random.default_rng([seed, sorted(NAMES).index(name)])
    if name in STYLES:
        return [sample_scene(rng, (0.4, 0.4, 0.2), style=name) for _ in range(count)]
    others = [kind for kind in CLASSES if kind != CONCEPTS[name].kind]
    scenes = []
    for place in range(count):
        if place % 4 == 1:
            scenes.append(sample_scene(rng, (0.0, 0.3, 0.3, 0.4), personal=[name], classes=others))
        else:
            scene = sample_scene(rng, (1.0,), personal=[name])
            scenes.append(from_afar(scene, rng) if place % 4 else scene)
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
    """How a LoRA is trained. rate: AdamW's learning rate; weight decay is zero. captions: of each scene. rank: twice
    that for a LoRA that changes an outline. focus: by how much a pixel of the subject counts more than one of the
    background, which people's trainers call a masked loss.
    """

    scenes: int = 256
    captions: int = 16
    steps: int = 3000
    batch: int = 8
    rate: float = 2e-3
    rank: int = RANK
    focus: float = 4.0


DROPOUT = 0.05
"""Share of the pictures that are learned without their caption."""


@dataclass(frozen=True)
class Lessons:
    """What one LoRA learns from, all on the device: latents float [scene, 4, 16, 16]; ids int64 [caption, 77], several
    captions of each scene and at last an empty one; regions float [scene, nouns, 16, 16] of what is in focus; taken and
    texts int64 [step, b], the scenes and captions of every step; captions, one of each scene.
    """

    latents: Tensor
    ids: Tensor
    regions: Tensor
    taken: Tensor
    texts: Tensor
    captions: list[str]

    @classmethod
    def of(
        cls,
        name: str,
        scenes: list[Scene],
        parts: Parts,
        rng: np.random.Generator,
        device: torch.device,
        settings: LoraSettings,
    ) -> Lessons:
        """Renders and encodes the scenes and writes their captions."""
        pool = encode(parts.vae.to(device), scenes, device)
        if name in CONCEPTS:  # the subject alone is in focus
            for place, scene in enumerate(scenes):
                for index, thing in enumerate(scene.things):
                    pool.coverage[place, index] *= thing.concept == name
        rows = np.repeat(np.arange(len(scenes)), settings.captions).tolist()
        bank = make_batch(pool, [*rows, 0], parts.tokenizer, rng, 0.0, triggers=True)
        bank.ids[-1] = make_batch(pool, [0], parts.tokenizer, rng, 1.0).ids[0]
        captions = [caption(scene, rng, triggers=True).text for scene in scenes]
        chosen = _epochs(rng, len(scenes))
        taken = np.fromiter(chosen, int, settings.steps * settings.batch).reshape(settings.steps, settings.batch)
        texts = taken * settings.captions + rng.integers(settings.captions, size=taken.shape)
        texts = np.where(rng.random(taken.shape) < DROPOUT, len(rows), texts)
        return cls(
            pool.latents.float().to(device),
            bank.ids.to(device),
            bank.regions[: len(rows) : settings.captions].to(device),
            torch.from_numpy(taken).to(device),
            torch.from_numpy(texts).to(device),
            captions,
        )

    def batch(self, step: int) -> Batch:
        """The batch of a step; attention is not supervised, so that no token has an owner."""
        taken, ids = self.taken[step], self.ids[self.texts[step]]
        return Batch(self.latents[taken], ids, torch.full_like(ids, -1), self.regions[taken])


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
    rank = settings.rank * (2 if name in SHAPED else 1)
    rng = np.random.default_rng([seed, NAMES.index(name), 1])
    scenes = lora_scenes(name, settings.scenes, seed)
    lessons = Lessons.of(name, scenes, parts, rng, device, settings)
    unet = copy.deepcopy(parts.unet).to(device, torch.bfloat16).requires_grad_(False)
    text = copy.deepcopy(parts.text_encoder).to(device).requires_grad_(False)
    text.set_attn_implementation("eager")
    processors = set_attention(unet, keep=False)
    generator = torch.Generator().manual_seed(seed * 1009 + NAMES.index(name))
    layers = inject(unet, False, rank, rank, generator, every=name in SHAPED)
    layers |= inject(text, True, rank, rank, generator)
    for layer in layers.values():
        layer.to(device)
    params = [p for layer in layers.values() for p in (layer.down, layer.up)]
    optimizer = adamw(params, settings.rate, device)
    diffusion = Diffusion(alphas_cumprod().to(device))

    def learn(noise: Tensor, times: Tensor, *tensors: Tensor) -> tuple[Tensor]:
        optimizer.zero_grad(set_to_none=True)
        loss, _ = losses(unet, text, processors, Batch(*tensors), noise, times, diffusion, settings.focus)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        return (loss.detach(),)

    replayed = Replayed(learn, device)
    total = torch.zeros((), device=device)
    last = min(50, settings.steps)
    generator = torch.Generator(device).manual_seed(seed * 1009 + NAMES.index(name))
    for step in tqdm(range(settings.steps), desc=title, mininterval=5, leave=False):
        set_rate([optimizer], schedule(step, settings.steps, warmup=20, decay_from=0.6, last=0.1))
        batch = lessons.batch(step)
        (loss,) = replayed(*draw_noise(batch, generator), *batch.tensors())
        if step >= settings.steps - last:
            total += loss / last
    path.parent.mkdir(parents=True, exist_ok=True)
    told = metadata(name, title, lessons.captions, settings.steps, seed, rank)
    save_file(lora_state(layers), path, metadata=told)
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
