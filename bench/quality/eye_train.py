"""`python -m bench.quality.eye_train`: trains the eye on the renderer's pictures, some of them through the VAE."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from bench.quality.eye import KNOWN_INK, SIZE, STRIDE, Eye, EyeNet
from bench.quality.folder import EYE, Subject, tiny_world
from clora_ext.hosts.diffusers.checkpoint import load
from tiny_world.caption import caption
from tiny_world.render import render
from tiny_world.scene import CLASSES, Scene, sample_scene

STYLE = KNOWN_INK
TEMPERATURE = 0.1


@dataclass(frozen=True)
class Examples:
    """Two pictures of each cast, uint8 [2, n, 128, 128, 3], what their pixels are (0 background, then CLASSES), where
    they are in line art, and a caption of each first one."""

    pixels: np.ndarray
    classes: np.ndarray
    lineart: np.ndarray
    captions: list[str]


def recast(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same things elsewhere: another place, order, size and background."""
    count = len(scene.things)
    other = sample_scene(rng, [float(n + 1 == count) for n in range(count)], style=scene.style)
    order = rng.permutation(count)
    things = [
        replace(other.things[i], kind=thing.kind, concept=thing.concept, colour=thing.colour)
        for i, thing in zip(order, scene.things, strict=True)
    ]
    return replace(other, things=tuple(sorted(things, key=lambda thing: thing.y)))


def picture(
    scene: Scene, styled: int | None, style: str = STYLE, size: int = SIZE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, classes and line art of a scene; thing ``styled`` alone is put into the style."""
    made = render(scene, size)
    pixels, lineart = made.pixels, np.full(made.pixels.shape[:2], scene.style is not None)
    if styled is not None:
        where = made.silhouettes[styled]
        pixels, lineart = pixels.copy(), where
        pixels[where] = render(replace(scene, style=style), size).pixels[where]
    classes = np.zeros(pixels.shape[:2], dtype=np.uint8)
    for thing, silhouette in zip(scene.things, made.silhouettes, strict=True):
        classes[silhouette] = CLASSES.index(thing.kind) + 1
    return pixels, classes, lineart


def examples(count: int, seed: int) -> Examples:
    """``count`` casts of one to three things, half of them personal concepts; a quarter with line art somewhere."""
    rng = np.random.default_rng([seed, 77])
    firsts, seconds, captions = [], [], []
    for _ in range(count):
        style = STYLE if rng.random() < 0.12 else None
        scene = sample_scene(rng, (0.4, 0.4, 0.2), 0.6, style=style)
        styled = int(rng.integers(len(scene.things))) if style is None and rng.random() < 0.2 else None
        other = recast(scene, rng)
        firsts.append(picture(scene, styled))
        seconds.append(picture(other, None if styled is None else int(rng.integers(len(other.things)))))
        captions.append(caption(scene, rng, triggers=True, colours=0.6, fillers=0.0).text)
    both = zip(*(zip(*side, strict=True) for side in (firsts, seconds)), strict=True)
    pixels, classes, lineart = (np.stack([np.stack(side) for side in sides]) for sides in both)
    return Examples(pixels, classes, lineart, captions)


@torch.no_grad()
def through_vae(pictures: np.ndarray, device: str, subject: Subject) -> np.ndarray:
    """Pictures [n, side, side, 3] as the model's autoencoder gives them back: what generated pictures look like."""
    vae = load(subject.checkpoint, subject.config, subject.tokenizer, device=device).vae
    back = []
    for part in tqdm(np.array_split(pictures, max(1, len(pictures) // 16)), desc="through the autoencoder"):
        pixels = torch.from_numpy(part).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        decoded = vae.decode(vae.encode(pixels).latent_dist.mean).sample
        back.append(((decoded.cpu() + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).numpy())
    return np.concatenate(back)


def contrast(a: Tensor, b: Tensor, scale: Tensor | float) -> Tensor:
    """InfoNCE both ways between rows [n, d] of length 1."""
    logits = a @ b.T * scale
    target = torch.arange(len(a), device=a.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def losses(net: EyeNet, data: Examples, chosen: np.ndarray, device: str) -> dict[str, Tensor]:
    """Look: two pictures of one cast. Clip: picture and caption. Classes and line art: of every fourth pixel."""
    pixels = torch.from_numpy(data.pixels[:, chosen]).to(device).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels + 0.02 * torch.randn_like(pixels)).clamp(0, 1)
    look, clip, logits = net(pixels)
    middle = slice(STRIDE // 2, None, STRIDE)
    classes = torch.from_numpy(data.classes[:, chosen][..., middle, middle]).to(device).flatten(0, 1).long()
    lineart = torch.from_numpy(data.lineart[:, chosen][..., middle, middle]).to(device).flatten(0, 1).float()
    half = len(chosen)
    read = net.read([data.captions[i] for i in chosen]).to(device)
    return {
        "look": contrast(look[:half], look[half:], 1 / TEMPERATURE),
        "clip": contrast(clip[:half], read, net.scale.exp()),
        "classes": functional.cross_entropy(logits[:, :-1], classes),
        "lineart": functional.binary_cross_entropy_with_logits(logits[:, -1], lineart),
    }


def train(data: Examples, steps: int, batch: int, device: str, seed: int = 1) -> Eye:
    """AdamW with a cosine schedule."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = EyeNet().to(device).train()
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.02)
    falling = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    with tqdm(range(steps), desc="eye") as bar:
        for _ in bar:
            parts = losses(net, data, rng.choice(len(data.captions), batch, replace=False), device)
            optimiser.zero_grad()
            torch.stack(list(parts.values())).sum().backward()
            optimiser.step()
            falling.step()
            bar.set_postfix({name: f"{float(part.detach()):.2f}" for name, part in parts.items()}, refresh=False)
    return Eye(net.cpu())


def measure(eye: Eye, data: Examples) -> dict[str, float]:
    """On pictures that it was not trained on: mean IoU of things, style, and who finds its own pair among all."""
    classes, style = zip(*[eye.outline(side) for side in data.pixels], strict=True)
    seen, truth = np.concatenate(classes), data.classes.reshape(-1, *data.classes.shape[2:])
    shared = [(seen == k) & (truth == k) for k in range(1, len(CLASSES) + 1)]
    either = [(seen == k) | (truth == k) for k in range(1, len(CLASSES) + 1)]
    look = [eye.see(side) for side in data.pixels]
    read = torch.stack([eye.read(text) for text in data.captions])
    own = torch.arange(len(read))
    return {
        "outline_iou": float(np.mean([a.sum() / max(b.sum(), 1) for a, b in zip(shared, either, strict=True)])),
        "lineart_right": float(((np.concatenate(style) > 0.5) == data.lineart.reshape(truth.shape)).mean()),
        "look_finds_pair": float(((look[0][0] @ look[1][0].T).argmax(dim=1) == own).float().mean()),
        "clip_finds_text": float(((look[0][1] @ read.T).argmax(dim=1) == own).float().mean()),
        "pictures": float(len(own)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the small encoder that stands for DINO and CLIP here.")
    parser.add_argument("--count", type=int, default=3000, help="casts, two pictures each")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--through-vae", type=int, default=500, help="casts that pass through the autoencoder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=EYE)
    options = parser.parse_args(arguments)
    data, held = examples(options.count, options.seed), examples(100, options.seed + 1)
    for part, few in ((data, options.through_vae), (held, 50)):
        for side in part.pixels:
            side[:few] = through_vae(side[:few], options.device, tiny_world())
    eye = train(data, options.steps, options.batch, options.device, options.seed)
    figures = measure(eye, held)
    eye.save(options.out)
    report = {**figures, "steps": options.steps, "batch": options.batch, "count": options.count, "seed": options.seed}
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(figures)


if __name__ == "__main__":
    main()
