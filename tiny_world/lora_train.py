"""Training of the tiny world's LoRAs: the scenes that each learns from, and the steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextModel

from .base_train import Diffusion, draw_noise, losses
from .concepts import XL_CONCEPTS, XL_STYLES
from .lora import RANK, SHAPED, inject, lora_files, lora_state, metadata
from .model import Parts, alphas_cumprod
from .optim import Replayed, adamw, schedule, set_rate
from .scene import CLASSES, Scene, sample_scene
from .scenes import Batch, encode, make_batch
from .supervision import set_attention
from .worlds import FIRST, World

AFAR: tuple[float, float] = (0.29, 0.42)
"""Sizes of a thing seen from afar, as shares of the picture."""


def lora_scenes(name: str, count: int, seed: int, world: World = FIRST) -> list[Scene]:
    """Training scenes of a concept, of four of which one shows it from near, two from afar, as small as a thing is
    among three others, and one among one to three things of other classes. For a style, scenes of one to three generic
    things in it.
    """
    rng = np.random.default_rng([seed, sorted(world.names).index(name)])
    if name in XL_STYLES:
        return [sample_scene(rng, (0.4, 0.4, 0.2), style=name) for _ in range(count)]
    others = [kind for kind in CLASSES if kind != XL_CONCEPTS[name].kind]
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


@dataclass(frozen=True)
class LoraSettings:
    """How a LoRA is trained. rate: AdamW's learning rate; weight decay is zero. captions: of each scene. rank: twice
    that for a LoRA that changes an outline. focus: by how much a pixel of the subject counts more than one of the
    background, which people's trainers call a masked loss. decay_from: the share of the steps after which the rate
    falls, and last: the share of it that is left at the end.
    """

    scenes: int = 256
    captions: int = 16
    steps: int = 3000
    batch: int = 8
    rate: float = 2e-3
    rank: int = RANK
    focus: float = 4.0
    decay_from: float = 0.6
    last: float = 0.1


DROPOUT = 0.05
"""Share of the pictures that are learned without their caption."""


@dataclass(frozen=True)
class Lessons:
    """What one LoRA learns from, all on the device: latents float [scene, 4, h, w]; ids int64 [caption, 77], several
    captions of each scene and at last an empty one; regions float [scene, things, h, w] of what is in focus; taken
    and texts int64 [step, b], the scenes and captions of every step; captions, one of each scene.
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
        world: World = FIRST,
    ) -> Lessons:
        """Renders and encodes the scenes and writes their captions."""
        pool = encode(parts.vae.to(device), scenes, device, size=world.size)
        if name in XL_CONCEPTS:  # the subject alone is in focus
            for place, scene in enumerate(scenes):
                for index, thing in enumerate(scene.things):
                    pool.coverage[place, index] *= thing.concept == name
        rows = np.repeat(np.arange(len(scenes)), settings.captions).tolist()
        bank = make_batch(pool, [*rows, 0], parts.tokenizer, rng, 0.0, triggers=True, write=world.write)
        bank.ids[-1] = make_batch(pool, [0], parts.tokenizer, rng, 1.0).ids[0]
        captions = [world.write(scene, rng, triggers=True).text for scene in scenes]
        chosen = _epochs(rng, len(scenes))
        taken = np.fromiter(chosen, int, settings.steps * settings.batch).reshape(settings.steps, settings.batch)
        texts = taken * settings.captions + rng.integers(settings.captions, size=taken.shape)
        texts = np.where(rng.random(taken.shape) < DROPOUT, len(rows), texts)
        return cls(
            pool.latents.float().to(device),
            bank.ids.to(device),
            (pool.coverage.float() / 255).to(device),
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
    world: World = FIRST,
) -> float:
    """Trains one LoRA on a copy of the networks (the UNet's in bfloat16) and writes it; returns the last losses' mean.

    Raises ValueError for an unknown name.
    """
    if name not in world.names:
        raise ValueError(f"there is no concept or style {name!r}: choose among {', '.join(world.names)}.")
    shaped = world is FIRST and name in SHAPED
    rank = settings.rank * (2 if shaped else 1)
    own_seed = seed * 1009 + world.names.index(name)
    rng = np.random.default_rng([seed, world.names.index(name), 1])
    scenes = lora_scenes(name, settings.scenes, seed, world)
    lessons = Lessons.of(name, scenes, parts, rng, device, settings, world)
    unet = copy.deepcopy(parts.unet).to(device, torch.bfloat16).requires_grad_(False)
    text = copy.deepcopy(parts.text_encoder).to(device).requires_grad_(False)
    if isinstance(text, CLIPTextModel):
        text.set_attn_implementation("eager")
    processors = set_attention(unet, keep=False)
    generator = torch.Generator().manual_seed(own_seed)
    layers = inject(unet, False, rank, rank, generator, every=shaped)
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
    generator = torch.Generator(device).manual_seed(own_seed)
    for step in tqdm(range(settings.steps), desc=title, mininterval=5, leave=False):
        set_rate([optimizer], schedule(step, settings.steps, 20, settings.decay_from, settings.last))
        batch = lessons.batch(step)
        (loss,) = replayed(*draw_noise(batch, generator), *batch.tensors())
        if step >= settings.steps - last:
            total += loss / last
    path.parent.mkdir(parents=True, exist_ok=True)
    told = metadata(name, title, lessons.captions, settings.steps, seed, rank, world)
    moved = {name: layer for name, layer in layers.items() if bool(layer.up.any())}  # the others reach nothing
    save_file(lora_state(moved), path, metadata=told)
    return float(total)


def _epochs(rng: np.random.Generator, count: int) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()


def train_share(
    rank: int, processes: int, world: World, folder: Path, device: torch.device, settings: LoraSettings
) -> None:
    """Trains every processes-th of the LoRAs that are not there yet, from the checkpoint in the folder."""
    parts = world.load(folder)
    for index, (name, title, seed, path) in enumerate(lora_files(folder, world)):
        if index % processes != rank or path.exists():
            continue
        loss = train_lora(name, title, seed, parts, path, device, settings, world)
        tqdm.write(f"{title}: loss {loss:.4f}, {path.stat().st_size / 1e6:.2f} MB")
