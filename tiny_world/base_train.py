"""Joint training of the tiny world's UNet and text encoder, with supervised cross-attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import CLIPTokenizer

from .caption import Caption, caption
from .model import SCALE, alphas_cumprod, build_text_encoder, build_unet, build_vae
from .optim import Average, Muon, average_gradients, launch, save_atomically, schedule, set_rate, split_params
from .render import render
from .scene import Scene, sample_scene
from .vae_train import to_tensor

GRID = 16
THINGS = 4
MAX_NOUNS = 4
LEAST_MASS = 0.25
COUNTS = (0.06, 0.2, 0.24, 0.5)
"""Shares of scenes with one to four things; many things are hardest and are seen most."""


class PlainAttention:
    """Attention by two matrix products (faster than fused kernels for small heads on a CPU) that can keep its maps.

    After a forward pass with `keep` true, `maps` is float [batch, queries, tokens], averaged over heads.
    """

    def __init__(self, keep: bool = False) -> None:
        self.keep = keep
        self.maps: Tensor | None = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states [b, n, c], encoder_hidden_states [b, t, c'] or None; returns [b, n, c]."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        b, n, _ = hidden_states.shape
        query = attn.to_q(hidden_states)
        key, value = attn.to_k(context), attn.to_v(context)
        width = query.shape[-1] // attn.heads

        def split(x: Tensor) -> Tensor:
            return x.view(b, -1, attn.heads, width).transpose(1, 2)

        query, key, value = split(query * attn.scale), split(key), split(value)
        weights = (query @ key.transpose(-1, -2)).softmax(dim=-1)
        if self.keep:
            self.maps = weights.float().mean(dim=1)
        out = (weights @ value).transpose(1, 2).reshape(b, n, -1)
        return attn.to_out[1](attn.to_out[0](out))


def set_attention(unet: nn.Module, keep: bool) -> list[PlainAttention]:
    """Gives every attention layer of the UNet a PlainAttention; returns the cross-attention ones in order."""
    processors: dict[str, PlainAttention] = {}
    for name in unet.attn_processors:
        processors[name] = PlainAttention(keep and ".attn2." in name)
    unet.set_attn_processor(dict(processors))  # diffusers empties the dictionary
    return [p for name, p in processors.items() if ".attn2." in name]


@dataclass
class Pool:
    """Encoded scenes: latents float16 [n, 4, 16, 16] (scaled), coverage uint8 [n, THINGS, 16, 16] (0..255), scenes."""

    latents: Tensor
    coverage: Tensor
    scenes: list[Scene]
    size: int = 0
    next: int = 0

    @classmethod
    def empty(cls, capacity: int) -> Pool:
        """A pool with room for `capacity` scenes."""
        return cls(
            torch.zeros(capacity, 4, GRID, GRID, dtype=torch.float16),
            torch.zeros(capacity, THINGS, GRID, GRID, dtype=torch.uint8),
            [],
        )

    def add(self, latents: Tensor, coverage: Tensor, scenes: Sequence[Scene]) -> None:
        """Adds scenes, in place of the oldest once the pool is full."""
        for i, scene in enumerate(scenes):
            self.latents[self.next] = latents[i].half()
            self.coverage[self.next] = coverage[i]
            if self.next < len(self.scenes):
                self.scenes[self.next] = scene
            else:
                self.scenes.append(scene)
            self.next = (self.next + 1) % len(self.latents)
            self.size = max(self.size, len(self.scenes))

    def rows(self, rng: np.random.Generator, number: int) -> list[int]:
        """Random rows whose scenes have one to four things with shares COUNTS."""
        counts = np.array([len(scene.things) for scene in self.scenes])
        rows = []
        for wanted in rng.choice(4, size=number, p=COUNTS) + 1:
            candidates = np.flatnonzero(counts == wanted)
            rows.append(int(rng.choice(candidates)) if len(candidates) else int(rng.integers(len(counts))))
        return rows


def cover(silhouettes: np.ndarray) -> Tensor:
    """bool [n, 128, 128] to the share of each cell of the 16x16 grid covered, uint8 [THINGS, 16, 16]."""
    n, side, _ = silhouettes.shape
    cell = side // GRID
    share = silhouettes.reshape(n, GRID, cell, GRID, cell).mean(axis=(2, 4))
    out = torch.zeros(THINGS, GRID, GRID, dtype=torch.uint8)
    out[:n] = torch.from_numpy((share * 255).round().astype(np.uint8))
    return out


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, scenes: Sequence[Scene], device: torch.device) -> tuple[Tensor, Tensor]:
    """Renders and encodes scenes: scaled latents float [n, 4, 16, 16] and coverage uint8 [n, THINGS, 16, 16]."""
    renderings = [render(scene) for scene in scenes]
    images = to_tensor(np.stack([r.pixels for r in renderings])).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        latents = vae.encode(images).latent_dist.mode().float() * SCALE
    return latents.cpu(), torch.stack([cover(r.silhouettes) for r in renderings])


def token_owners(written: Caption, offsets: Sequence[tuple[int, int]], length: int = 77) -> np.ndarray:
    """Which noun each token belongs to: int64 [length], -1 for none, else the noun's place in written.nouns.

    A noun owns its own tokens and those of the nonsense word right before it. offsets: characters of each token.
    """
    owners = np.full(length, -1, dtype=np.int64)
    spans: list[tuple[int, int, int]] = []
    for index, (start, end, _) in enumerate(written.nouns[:MAX_NOUNS]):
        spans.append((start, end, index))
        spans += [(s, e, index) for s, e, _ in written.slots if e + 1 == start]
    for token, (start, end) in enumerate(offsets[:length]):
        if end > start:
            for first, last, index in spans:
                if start >= first and end <= last:
                    owners[token] = index
    return owners


@dataclass(frozen=True)
class Batch:
    """Inputs of one step: latents [b, 4, 16, 16], ids and owners int64 [b, 77], regions [b, nouns, 16, 16]."""

    latents: Tensor
    ids: Tensor
    owners: Tensor
    regions: Tensor


def make_batch(
    pool: Pool,
    rows: Sequence[int],
    tokenizer: CLIPTokenizer,
    rng: np.random.Generator,
    dropout: float,
    triggers: bool = False,
) -> Batch:
    """Fresh captions for these rows of the pool; with probability dropout the caption is empty (and unsupervised)."""
    captions = [caption(pool.scenes[row], rng, triggers=triggers) for row in rows]
    dropped = rng.random(len(rows)) < dropout
    texts = ["" if gone else written.text for gone, written in zip(dropped, captions, strict=True)]
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_offsets_mapping=True)
    owners = np.full((len(rows), 77), -1, dtype=np.int64)
    regions = torch.zeros(len(rows), MAX_NOUNS, GRID, GRID)
    coverage = pool.coverage[list(rows)].float() / 255
    for i, written in enumerate(captions):
        if dropped[i]:
            continue
        owners[i] = token_owners(written, encoded["offset_mapping"][i])
        for noun, (_, _, things) in enumerate(written.nouns[:MAX_NOUNS]):
            regions[i, noun] = coverage[i, list(things)].sum(dim=0).clamp(max=1)
    return Batch(
        pool.latents[list(rows)].float(), torch.tensor(encoded["input_ids"]), torch.from_numpy(owners), regions
    )


def attention_loss(maps: Sequence[Tensor], owners: Tensor, regions: Tensor) -> Tensor:
    """How far the maps of nouns' tokens are from their own things' regions; a scalar, 0 at best.

    maps: one float [b, h * w, 77] per layer. owners int64 [b, 77] gives each token's noun or -1; regions [b, k, 16, 16]
    the share of each cell that a noun's things cover. Three terms, averaged over nouns and layers: the share of each
    token's attention outside its region; the lack of a mass of LEAST_MASS on the noun's tokens inside its region; the
    cross-entropy between nouns there. After TokenCompose (arXiv 2312.03626), whose first term this is.
    """
    k = regions.shape[1]
    own = functional.one_hot(owners + 1, k + 1)[..., 1:].float()  # [b, 77, k]
    tokens = own.sum(dim=1)
    total = regions.new_zeros(())
    for attention in maps:
        side = int(attention.shape[1] ** 0.5)
        region = functional.adaptive_avg_pool2d(regions, side).flatten(2)  # [b, k, q]
        exists = ((tokens > 0) & (region.sum(dim=-1) > 0)).float()
        count = exists.sum().clamp(min=1)
        peak = region.amax(dim=-1, keepdim=True).clamp(min=1e-6)
        wide = (region / peak * 2).clamp(max=1)  # cells covered by a half or more (of the best) count as inside
        wide_of_token = own @ wide  # [b, 77, q]
        inside = (attention.transpose(1, 2) * wide_of_token).sum(-1) / attention.sum(dim=1).clamp(min=1e-6)  # [b, 77]
        outside = ((1 - inside)[..., None] * own).sum(1) / tokens.clamp(min=1)
        mass = (attention @ own).transpose(1, 2)  # [b, k, q]
        weight = region / region.sum(dim=-1, keepdim=True).clamp(min=1e-6)
        lack = ((LEAST_MASS - mass).clamp(min=0) / LEAST_MASS * weight).sum(-1)
        rival = -(((mass + 1e-4) / (mass.sum(dim=1, keepdim=True) + 1e-4 * k)).log() * weight).sum(-1)
        total = total + ((outside.square() + lack + 0.5 * rival) * exists).sum() / count
    return total / max(1, len(maps))


@dataclass(frozen=True)
class Diffusion:
    """SD1's noise schedule with the min-SNR weight of an eps-prediction loss."""

    alphas: Tensor

    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """sqrt(a) latents + sqrt(1 - a) noise for timesteps int64 [b]."""
        a = self.alphas[times][:, None, None, None]
        return a.sqrt() * latents + (1 - a).sqrt() * noise

    def weight(self, times: Tensor, gamma: float = 5.0) -> Tensor:
        """min(snr, gamma) / snr for each timestep, float [b] (Hang et al. 2023)."""
        a = self.alphas[times]
        snr = a / (1 - a)
        return snr.clamp(max=gamma) / snr


def losses(
    unet: nn.Module,
    text: nn.Module,
    processors: Sequence[PlainAttention],
    batch: Batch,
    diffusion: Diffusion,
    generator: torch.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Weighted noise-prediction loss and attention loss of a batch.

    Timesteps are stratified over the batch. Layers at 2x2 are not supervised: a thing has no region of its own there.
    """
    b = len(batch.latents)
    noise = torch.randn(batch.latents.shape, generator=generator)
    times = ((torch.arange(b) + torch.rand(b, generator=generator)) / b * 1000).long().clamp(0, 999)
    times = times[torch.randperm(b, generator=generator)].to(device)
    noise = noise.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        context = text(batch.ids.to(device)).last_hidden_state
        noisy = diffusion.noisy(batch.latents.to(device), noise, times)
        output = unet(noisy, times, context).sample.float()
    error = (output - noise).square().mean(dim=(1, 2, 3))
    maps = [p.maps for p in processors if p.maps is not None and p.maps.shape[1] >= 16]
    supervised = attention_loss(maps, batch.owners.to(device), batch.regions.to(device))
    return (error * diffusion.weight(times)).mean(), supervised


def load_frozen_vae(folder: Path, device: torch.device) -> AutoencoderKL:
    """The trained and normalised autoencoder of this training run."""
    vae = build_vae().to(device)
    vae.load_state_dict(torch.load(folder / "vae-final.pt", map_location=device))
    return vae.eval().requires_grad_(False)


def _train(
    rank: int,
    world: int,
    folder: Path,
    tokenizer_folder: Path,
    steps: int,
    batch: int,
    first_scenes: int,
    fresh: int,
    seed: int,
    device: torch.device,
) -> None:
    torch.manual_seed(seed)
    tokenizer = CLIPTokenizer.from_pretrained(str(tokenizer_folder))
    unet, text = build_unet().to(device), build_text_encoder(len(tokenizer)).to(device)
    processors = set_attention(unet, keep=True)
    vae = load_frozen_vae(folder, device)
    matrices, rest = split_params([unet, text], outer=("conv_in.weight", "conv_out.weight"))
    optimizers = [Muon(matrices, lr=0.02), torch.optim.AdamW(rest, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0)]
    average = Average([unet, text], 0.998)
    diffusion = Diffusion(alphas_cumprod().to(device))
    path, pool_path = folder / "base.pt", folder / f"pool-{rank}-of-{world}.pt"
    first = 0
    if path.exists():
        state = torch.load(path, map_location=device)
        unet.load_state_dict(state["raw_unet"])
        text.load_state_dict(state["raw_text"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
    rng = np.random.default_rng([seed, rank, first])
    generator = torch.Generator().manual_seed(seed * 7919 + rank * 101 + first)
    if pool_path.exists():
        pool: Pool = torch.load(pool_path, weights_only=False)
    else:
        pool = Pool.empty(4 * first_scenes // world)
        for _ in tqdm(range(first_scenes // world // 16), desc="scenes", disable=rank > 0):
            scenes = [sample_scene(rng, COUNTS) for _ in range(16)]
            pool.add(*encode_scenes(vae, scenes, device), scenes)
        save_atomically(pool, pool_path)
    params = [*matrices, *rest]
    bar = tqdm(range(first, steps), initial=first, total=steps, desc="base", disable=rank > 0, mininterval=2)
    for step in bar:
        set_rate(optimizers, schedule(step, steps, decay_from=0.45))
        if fresh and pool.size < len(pool.latents):
            scenes = [sample_scene(rng, COUNTS) for _ in range(fresh)]
            pool.add(*encode_scenes(vae, scenes, device), scenes)
        made = make_batch(pool, pool.rows(rng, batch // world), tokenizer, rng, 0.1)
        loss, supervised = losses(unet, text, processors, made, diffusion, generator, device)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        (loss + 0.05 * supervised).backward()
        average_gradients(params)
        nn.utils.clip_grad_norm_(rest, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        average.update()
        bar.set_postfix(loss=f"{loss.item():.4f}", attention=f"{supervised.item():.3f}", refresh=False)
        last = step + 1 == steps
        if rank == 0 and (last or (step + 1) % 150 == 0):
            average.swap()
            state = {"unet": _copy(unet), "text": _copy(text), "step": step + 1}
            average.swap()
            state |= {
                "raw_unet": unet.state_dict(),
                "raw_text": text.state_dict(),
                "average": average.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
            }
            save_atomically(state, path)
            tqdm.write(f"step {step + 1}: loss {loss.item():.4f} attention {supervised.item():.4f}")


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def train_base(
    folder: Path,
    tokenizer_folder: Path,
    device: torch.device,
    *,
    steps: int = 3000,
    batch: int = 32,
    first_scenes: int = 6000,
    fresh: int = 2,
    seed: int = 3,
) -> None:
    """Trains UNet and text encoder, or goes on with it, and leaves folder/base.pt (averages under `unet` and `text`).

    Needs folder/vae-final.pt. first_scenes are encoded at the start, `fresh` more per process and step until there are
    four times as many.
    """
    launch(_train, device, folder, tokenizer_folder, steps, batch, first_scenes, fresh, seed, device)
