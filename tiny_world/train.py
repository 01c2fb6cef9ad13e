"""`python -m tiny_world.train`: builds a whole tiny world from the renderer; started again it goes on.

Stages: tokenizer, autoencoder, base (UNet and text encoder), the single file, the LoRAs, the judge, the model card. All
weights are left in tiny_world/weights, all checkpoints in out/train-tiny. To begin anew, remove both; LoRAs and judge
are trained where their files are missing. With `--world xl` the world of SDXL's topology is built, in
tiny_world/weights-xl and out/train-tiny-xl, from the first world's weights.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from . import card, card_xl, frozen, history
from .base_train import train_base
from .card import device_name
from .judge_more import HEAD, train_head
from .judge_train import PLANS as JUDGE_PLANS
from .judge_train import train_judge
from .lora import lora_files
from .lora_train import LoraSettings, train_share
from .model import build_vae, load_vae
from .optim import launch, pick_device, save_atomically
from .samples import Figures
from .samples import measure as measure_world
from .vae_train import measure, normalise_latents, sample_picture, train_vae
from .worlds import FIRST, WORLDS, XL, World

WORK = {FIRST.name: Path("out/train-tiny"), XL.name: Path("out/train-tiny-xl")}
STAGES: tuple[str, ...] = ("tokenizer", "vae", "base", "export", "loras", "judge", "card")


@dataclass(frozen=True)
class Plan:
    """Sizes of the stages: optimiser steps, samples per step, scenes to learn from, processes that train LoRAs."""

    vae_steps: int
    vae_batch: int
    base_steps: int
    base_batch: int
    scenes: int
    lora: LoraSettings
    lora_workers: int = 0


XL_LORA = LoraSettings(scenes=96, captions=8, steps=900, rate=3e-3, rank=3, decay_from=0.25, last=0.01)
PLANS: dict[str, dict[str, Plan]] = {
    FIRST.name: {
        "cpu": Plan(1500, 16, 5000, 64, 24_000, LoraSettings()),
        "cuda": Plan(3000, 32, 9000, 192, 60_000, LoraSettings(), lora_workers=3),
    },
    XL.name: {
        "cpu": Plan(0, 0, 3800, 40, 5000, XL_LORA),
        "cuda": Plan(0, 0, 9000, 192, 60_000, replace(XL_LORA, steps=3000), lora_workers=3),
    },
}
"""What two cores do in some hours, and what a GPU does in minutes, by world."""


def make_vae(world: World, plan: Plan, work: Path, device: torch.device) -> None:
    """Trains the world's autoencoder, or takes the first world's: leaves vae-final.pt in the work folder."""
    if world.own_autoencoder:
        train_vae(work, device, steps=plan.vae_steps, batch=plan.vae_batch)
        finish_vae(work, device)
    else:
        take_vae(work)


def finish_vae(work: Path, device: torch.device) -> None:
    """Normalises the latents of the trained autoencoder: vae.pt becomes vae-final.pt."""
    if (work / "vae-final.pt").exists():
        return
    vae = build_vae().to(device)
    vae.load_state_dict(torch.load(work / "vae.pt", map_location=device)["vae"])
    pictures = np.stack([sample_picture(np.random.default_rng(800_000 + i)) for i in range(64)])
    before = measure(vae, pictures, device)
    mean, std = normalise_latents(vae, pictures, device)
    after = measure(vae, pictures, device)
    print(f"latents: mean {mean.tolist()}, deviation {std.tolist()}; PSNR {before:.2f} dB before, {after:.2f} dB after")
    save_atomically({"vae": vae.state_dict(), "psnr": after}, work / "vae-final.pt")


def take_vae(work: Path) -> None:
    """Makes the first world's autoencoder this one's: writes vae-final.pt to the work folder."""
    if not (work / "vae-final.pt").exists():
        save_atomically({"vae": load_vae().state_dict()}, work / "vae-final.pt")


def begin_with(world: World, weights: Path, work: Path, device: torch.device) -> None:
    """Makes finished weights the start of further training: writes vae-final.pt and start.pt to the work folder."""
    parts = world.load_to_learn(weights)
    pictures = np.stack([sample_picture(np.random.default_rng(800_000 + i)) for i in range(64)])
    quality = measure(parts.vae.to(device), pictures, device)
    work.mkdir(parents=True, exist_ok=True)
    save_atomically({"vae": parts.vae.state_dict(), "psnr": quality}, work / "vae-final.pt")
    save_atomically({"unet": parts.unet.state_dict(), "text": parts.text_encoder.state_dict()}, work / "start.pt")


def write_checkpoint(world: World, work: Path, weights: Path) -> None:
    """Writes the single file and its configuration from the stages' checkpoints."""
    base = torch.load(work / "base.pt", map_location="cpu")
    vae = torch.load(work / "vae-final.pt", map_location="cpu")["vae"]
    world.export(weights, base["unet"], vae, base["text"], f"trained for {base['step']} steps")


def make_judge(world: World, weights: Path, device: torch.device) -> None:
    """Trains the judge, or what it needs for more looks, unless its weights are there."""
    if world is XL:
        if not (weights / HEAD).exists():
            train_head(weights / HEAD)
    elif not (weights / "judge.safetensors").exists():
        train_judge(weights / "judge.safetensors", JUDGE_PLANS[device.type], device)


def make_loras(world: World, plan: Plan, weights: Path, device: torch.device, workers: int) -> None:
    """Trains the LoRAs that are missing, and freezes those of a world that trains them once."""
    if frozen.check(weights):
        return
    launch(train_share, device, world, weights, device, plan.lora, workers=workers or plan.lora_workers)
    if world.frozen:
        frozen.freeze(weights, [path for _, _, _, path in lora_files(weights, world)])


def draw_sheet(folder: Path, cases: int, names: int, columns: int = 8) -> Image.Image:
    """One row of each of the base's cases and of each LoRA of the first set, from base.png and loras.png."""
    base, loras = (Image.open(folder / name).convert("RGB") for name in ("base.png", "loras.png"))
    height = base.width // columns - 4 + 36
    rows = [(base, 2 * case) for case in range(cases)] + [(loras, row) for row in range(names)]
    sheet = Image.new("RGB", (base.width, height * len(rows)), "white")
    for place, (picture, row) in enumerate(rows):
        sheet.paste(picture.crop((0, row * height, base.width, (row + 1) * height)), (0, place * height))
    wide = 704 / sheet.width
    small = sheet.resize((round(sheet.width * wide), round(sheet.height * wide)), Image.Resampling.LANCZOS)
    return small.quantize(256, kmeans=3, dither=Image.Dither.NONE)


def tell(world: World, work: Path, weights: Path, device: torch.device, note: str = "") -> None:
    """Measures the finished world and writes its model card and grid of samples."""
    measured = work / "samples" / "samples.json"
    if measured.exists():
        figures = Figures(**json.loads(measured.read_text(encoding="utf-8")))
    else:
        figures = measure_world(weights, work / "samples", device, count=32, lora_count=20, world=world)
    module = card_xl if world is XL else card
    draw_sheet(work / "samples", len(figures.base), len(world.names)).save(module.GRID, optimize=True)
    module.write_card(module.CARD, weights, figures, note)


def run(
    world: World,
    stages: Sequence[str],
    plan: Plan,
    work: Path,
    weights: Path,
    device: torch.device,
    note: str = "",
    workers: int = 0,
) -> None:
    """Runs the stages in their order; each skips what it finds done. note: a remark for the model card. workers:
    processes, 0 for as many as fit the machine.
    """
    work.mkdir(parents=True, exist_ok=True)
    todo: dict[str, Callable[[], Any]] = {
        "tokenizer": lambda: world.tokenizer(weights),
        "vae": lambda: make_vae(world, plan, work, device),
        "base": lambda: train_base(
            world,
            work,
            weights,
            device,
            steps=plan.base_steps,
            batch=plan.base_batch,
            scenes=plan.scenes,
            workers=workers,
        ),
        "export": lambda: write_checkpoint(world, work, weights),
        "loras": lambda: make_loras(world, plan, weights, device, workers),
        "judge": lambda: make_judge(world, weights, device),
        "card": lambda: tell(world, work, weights, device, note),
    }
    on = {"device": device_name(device.type, workers)}
    facts: dict[str, Callable[[], Mapping[str, Any]]] = {
        "vae": lambda: {
            **on,
            "steps": plan.vae_steps,
            "batch": plan.vae_batch,
            "psnr": round(torch.load(work / "vae-final.pt", map_location="cpu")["psnr"], 2),
        },
        "base": lambda: {
            **on,
            "steps": torch.load(work / "base.pt", map_location="cpu")["step"],
            "batch": plan.base_batch,
        },
        "loras": lambda: {**on, **asdict(plan.lora)},
        "judge": lambda: on,
    }
    if not world.own_autoencoder:
        del facts["vae"]
    for stage in STAGES:
        if stage in stages:
            print(f"== {stage}", flush=True)
            history.remember(work, weights, stage, todo[stage], facts.get(stage))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of `make train-tiny`."""
    parser = argparse.ArgumentParser(description="Train the tiny world from the renderer; resumes where it stopped.")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--world", choices=list(WORLDS), default=FIRST.name)
    parser.add_argument("--work", type=Path, help="checkpoints between the stages")
    parser.add_argument("--weights", type=Path, help="where the finished weights go")
    parser.add_argument("--workers", type=int, default=0, help="processes that train; one a core otherwise")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--vae-steps", type=int)
    parser.add_argument("--base-steps", type=int)
    parser.add_argument("--base-batch", type=int)
    parser.add_argument("--scenes", type=int)
    parser.add_argument("--again", action="store_true", help="train further, from the finished weights")
    parser.add_argument("--note", default="", help="a remark on this run for the model card")
    options = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    device = pick_device(options.device)
    sizes = ("vae_steps", "base_steps", "base_batch", "scenes")
    world = WORLDS[options.world]
    work, weights = options.work or WORK[world.name], options.weights or world.weights
    asked = {size: getattr(options, size) for size in sizes if getattr(options, size)}
    plan = replace(PLANS[world.name][device.type], **asked)
    if options.again and not (work / "start.pt").exists():
        begin_with(world, weights, work, device)
    run(world, options.stages, plan, work, weights, device, options.note, options.workers)


if __name__ == "__main__":
    main()
