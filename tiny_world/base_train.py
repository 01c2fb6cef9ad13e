"""Joint training of the tiny world's UNet and text encoder, with supervised cross-attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from tqdm import tqdm

from .model import alphas_cumprod, build_vae, condition
from .optim import (
    Average,
    Replayed,
    adamw,
    average_gradients,
    helpers,
    launch,
    muon,
    save_atomically,
    schedule,
    set_rate,
    split_params,
)
from .scenes import MAX_NOUNS, Batch, Batches, Pool, load_batches, sample_pool
from .supervision import PlainAttention, attention_loss, set_attention
from .worlds import World

ATTENTION = 0.05
"""Weight of the attention loss."""
AVERAGED = 10
"""The weights are averaged over about the last steps / AVERAGED steps."""
FIRST_SHARE = 0.5
"""Share of the steps at `World.first_cells`, where a step is cheaper; none of a training that begins with finished
weights.
"""
WARM = 0.6
"""Factor on the learning rates of a training that begins with finished weights."""


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


def draw_noise(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise like the latents and timesteps int64 [b], stratified over the batch, on the generator's device."""
    b, device = len(batch.latents), generator.device
    noise = torch.randn(batch.latents.shape, generator=generator, device=device)
    spread = torch.arange(b, device=device) + torch.rand(b, generator=generator, device=device)
    times = (spread / b * 1000).long().clamp(0, 999)
    return noise, times[torch.randperm(b, generator=generator, device=device)]


def losses(
    unet: nn.Module,
    text: nn.Module,
    processors: Sequence[PlainAttention],
    batch: Batch,
    noise: Tensor,
    times: Tensor,
    diffusion: Diffusion,
    focus: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Weighted noise-prediction loss and attention loss of a batch; all tensors on the networks' device.

    focus: by how much a pixel of a named thing counts more than one of the background. Layers at 2x2 are not
    supervised: a thing has no region of its own there.
    """
    with torch.autocast(noise.device.type, torch.bfloat16, cache_enabled=False):
        output = unet(diffusion.noisy(batch.latents, noise, times), times, **condition(text, batch.ids)).sample.float()
    counts = 1 + focus * batch.regions[:, :MAX_NOUNS].sum(dim=1).clamp(max=1)  # picture, y, x
    error = ((output - noise).square().mean(dim=1) * counts).sum(dim=(1, 2)) / counts.sum(dim=(1, 2))
    maps = [p.maps for p in processors if p.maps is not None and p.maps.shape[1] >= 16]
    for processor in processors:
        processor.maps = None
    supervised = attention_loss(maps, batch.owners, batch.regions)
    return (error * diffusion.weight(times)).mean(), supervised


def load_frozen_vae(folder: Path, device: torch.device) -> AutoencoderKL:
    """The trained and normalised autoencoder of this training run."""
    vae = build_vae().to(device)
    vae.load_state_dict(torch.load(folder / "vae-final.pt", map_location=device)["vae"])
    return vae.eval().requires_grad_(False)


def _pool(
    path: Path, folder: Path, count: int, size: int, seed: Sequence[int], device: torch.device, title: str
) -> Pool:
    if path.exists():
        return torch.load(path, weights_only=False)
    rng = np.random.default_rng(list(seed))
    pool = sample_pool(load_frozen_vae(folder, device), count, rng, device, helpers(device), title, size)
    save_atomically(pool, path)
    return pool


def _train(
    rank: int,
    processes: int,
    world: World,
    folder: Path,
    weights: Path,
    steps: int,
    batch: int,
    scenes: int,
    seed: int,
    device: torch.device,
) -> None:
    torch.manual_seed(seed)
    pool_path, title = folder / f"pool-{rank}-of-{processes}.pt", "scenes" if rank == 0 else ""
    pool = _pool(pool_path, folder, scenes // processes, world.size, (seed, rank), device, title)
    parts = world.build(weights)
    unet, text = parts.unet.to(device), parts.text_encoder.to(device)
    processors = set_attention(unet, keep=True)
    matrices, rest = split_params([unet, text], outer=("conv_in.weight", "conv_out.weight", ".rows"))
    optimizers = [muon(matrices, 0.02, device), adamw(rest, 2e-3, device)]
    decay = 1 - AVERAGED / max(steps, AVERAGED)
    average = Average([unet, text], decay)
    diffusion = Diffusion(alphas_cumprod().to(device))
    path = folder / "base.pt"
    first, peak, again = 0, 1.0, (folder / "start.pt").exists()
    if path.exists():
        state = torch.load(path, map_location=device)
        unet.load_state_dict(state["raw_unet"])
        text.load_state_dict(state["raw_text"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first, peak = state["step"], state["peak"]
    elif again:
        state = torch.load(folder / "start.pt", map_location=device)
        unet.load_state_dict(state["unet"])
        text.load_state_dict(state["text"])
        average, peak = Average([unet, text], decay), WARM
    generator = torch.Generator().manual_seed(seed * 7919 + rank * 101 + first)
    params = [*matrices, *rest]

    def learn(noise: Tensor, times: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss, supervised = losses(unet, text, processors, Batch(*tensors), noise, times, diffusion, world.focus)
        (loss + ATTENTION * supervised).backward()
        average_gradients(params)
        nn.utils.clip_grad_norm_(rest, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        return loss.detach(), supervised.detach()

    replayed = Replayed(learn, device)
    size, begun = batch // processes, (seed, rank, first)
    made = Batches(pool, parts.tokenizer, size, 0.1, begun, world.write, world.places, world.shares)
    batches = load_batches(made, helpers(device))
    bar = tqdm(range(first, steps), initial=first, total=steps, desc="base", disable=rank > 0, mininterval=2)
    for step in bar:
        set_rate(optimizers, peak * schedule(step, steps, decay_from=0.45))
        drawn = next(batches)
        if world.first_cells and not again and step < FIRST_SHARE * steps:
            drawn = drawn.shrunk(world.first_cells)
        loss, supervised = replayed(*draw_noise(drawn, generator), *drawn.tensors())
        average.update()
        if (step + 1) % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}", attention=f"{supervised.item():.3f}", refresh=False)
        if rank == 0 and (step + 1 == steps or (step + 1) % 200 == 0):
            average.swap()
            state = {"unet": _copy(unet), "text": _copy(text), "step": step + 1, "peak": peak}
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
    world: World,
    folder: Path,
    weights: Path,
    device: torch.device,
    *,
    steps: int,
    batch: int,
    scenes: int,
    seed: int = 3,
    workers: int = 0,
) -> None:
    """Trains UNet and text encoder, or goes on with it, and leaves folder/base.pt (averages under `unet` and `text`).

    Needs folder/vae-final.pt and the tokenizer in `weights`; begins with folder/start.pt if it is there. scenes: how
    many are encoded at the start. workers: processes, as `launch` takes them.
    """
    launch(_train, device, world, folder, weights, steps, batch, scenes, seed, device, workers=workers)
