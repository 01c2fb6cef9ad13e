"""Training of the tiny world's autoencoder (f=8, four latents) on the renderer's pictures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from .model import build_vae
from .optim import (
    Average,
    Replayed,
    adamw,
    average_gradients,
    launch,
    muon,
    save_atomically,
    schedule,
    set_rate,
    split_params,
)
from .render import render
from .scene import sample_scene

CROP = 64
POOL = 1500


def sample_picture(rng: np.random.Generator) -> np.ndarray:
    """A picture for the autoencoder: half of the things personal, one in twelve in line art. uint8 [128, 128, 3]."""
    style = "lineart" if rng.random() < 1 / 12 else None
    return render(sample_scene(rng, (0.2, 0.4, 0.25, 0.15), personal=0.5, style=style)).pixels


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 [b, h, w, 3] to float [b, 3, h, w] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_pixels(images: Tensor) -> np.ndarray:
    """float [b, 3, h, w] in -1..1 to uint8 [b, h, w, 3]."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays of one shape."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-12))


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """0.5 L1 + MSE + 0.5 L1 of the differences between neighbouring pixels."""
    loss = 0.5 * functional.l1_loss(output, target) + functional.mse_loss(output, target)
    for dim in (2, 3):
        loss = loss + 0.25 * functional.l1_loss(output.diff(dim=dim), target.diff(dim=dim))
    return loss


def kl_loss(mean: Tensor, logvar: Tensor) -> Tensor:
    """Mean over latent elements of the KL divergence of N(mean, exp(logvar)) from N(0, 1)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


class Crops:
    """A pool of pictures, slowly renewed, and random crops of them."""

    def __init__(self, seed: int, pool: int = POOL) -> None:
        self.rng = np.random.default_rng(seed)
        self.pictures = np.stack([sample_picture(self.rng) for _ in range(pool)])
        self.next = 0

    def batch(self, count: int, fresh: int = 2) -> Tensor:
        """count random crops of CROP pixels, mirrored at random; renews `fresh` pictures of the pool."""
        for _ in range(fresh):
            self.pictures[self.next] = sample_picture(self.rng)
            self.next = (self.next + 1) % len(self.pictures)
        out = np.empty((count, CROP, CROP, 3), np.uint8)
        for i in range(count):
            picture = self.pictures[self.rng.integers(len(self.pictures))]
            top, left = self.rng.integers(0, picture.shape[0] - CROP + 1, size=2)
            crop = picture[top : top + CROP, left : left + CROP]
            out[i] = crop[:, ::-1] if self.rng.random() < 0.5 else crop
        return to_tensor(out)


@torch.no_grad()
def measure(vae: nn.Module, pictures: np.ndarray, device: torch.device, batch: int = 8) -> float:
    """PSNR in dB of reconstructions of uint8 [n, h, w, 3] through the mean of the posterior."""
    outputs = []
    for start in range(0, len(pictures), batch):
        images = to_tensor(pictures[start : start + batch]).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            outputs.append(to_pixels(vae.decode(vae.encode(images).latent_dist.mode()).sample))
    return psnr(np.concatenate(outputs), pictures)


def _train(rank: int, world: int, folder: Path, steps: int, batch: int, seed: int, device: torch.device) -> None:
    torch.manual_seed(seed)
    vae = build_vae().to(device)
    path = folder / "vae.pt"
    matrices, rest = split_params([vae], outer=("conv_in.weight", "decoder.conv_out.weight"))
    optimizers = [muon(matrices, 0.02, device), adamw(rest, 2e-3, device)]
    average = Average([vae], 0.995)
    first = 0
    if path.exists():
        state = torch.load(path, map_location=device)
        vae.load_state_dict(state["raw"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
    crops = Crops(seed * 1000 + rank * 100 + first)
    held_out = np.stack([sample_picture(np.random.default_rng(900_000 + i)) for i in range(24)])
    params = [*matrices, *rest]

    def learn(images: Tensor) -> tuple[Tensor]:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            posterior = vae.encode(images).latent_dist
            output = vae.decode(posterior.sample()).sample
            divergence = kl_loss(posterior.mean.float(), posterior.logvar.float())
        loss = reconstruction_loss(output.float(), images) + 2e-4 * divergence
        loss.backward()
        average_gradients(params)
        nn.utils.clip_grad_norm_(rest, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        return (loss.detach(),)

    replayed = Replayed(learn, device)
    bar = tqdm(range(first, steps), initial=first, total=steps, desc="autoencoder", disable=rank > 0, mininterval=2)
    for step in bar:
        set_rate(optimizers, schedule(step, steps))
        (loss,) = replayed(crops.batch(batch // world))
        average.update()
        if (step + 1) % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if rank == 0 and (step + 1 == steps or (step + 1) % 400 == 0):
            average.swap()
            quality = measure(vae, held_out, device)
            weights = {k: v.detach().clone() for k, v in vae.state_dict().items()}
            average.swap()
            state = {
                "vae": weights,
                "raw": vae.state_dict(),
                "average": average.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "step": step + 1,
                "psnr": quality,
            }
            save_atomically(state, path)
            tqdm.write(f"step {step + 1}: loss {loss.item():.4f} psnr {quality:.2f} dB")


def train_vae(folder: Path, device: torch.device, *, steps: int = 2000, batch: int = 16, seed: int = 1) -> None:
    """Trains the autoencoder, or goes on with it, and leaves folder/vae.pt (averaged weights under `vae`)."""
    folder.mkdir(parents=True, exist_ok=True)
    launch(_train, device, folder, steps, batch, seed, device)


@torch.no_grad()
def normalise_latents(
    vae: nn.Module, pictures: np.ndarray, device: torch.device, scale: float = 0.18215
) -> tuple[Tensor, Tensor]:
    """Folds a shift and scale per channel into quant_conv and post_quant_conv so that scale * latents is N(0, 1)-like.

    pictures: uint8 [n, h, w, 3] to measure on. Returns the mean and standard deviation [4] found before. The
    reconstructions stay the same up to rounding. Half of the moments (the log-variances) shift by the same scale.
    """
    latents = []
    for start in range(0, len(pictures), 8):
        with torch.autocast(device.type, torch.bfloat16):
            latents.append(vae.encode(to_tensor(pictures[start : start + 8]).to(device)).latent_dist.mode().float())
    stacked = torch.cat(latents)
    mean, std = stacked.mean(dim=(0, 2, 3)), stacked.std(dim=(0, 2, 3))
    factor = 1.0 / (std * scale)
    quant, post = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    quant.weight[:channels] *= factor[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) * factor
    quant.bias[channels:] += 2 * factor.log()
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight /= factor[None, :, None, None]
    return mean, std
