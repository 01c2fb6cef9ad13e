"""`python -m tiny_world.train`: builds the whole tiny world from the renderer; started again it goes on.

Stages: tokenizer, autoencoder, base (UNet and text encoder), the single file, the LoRAs, the judge, the model card. All
weights are left in tiny_world/weights, all checkpoints in out/train-tiny. To begin anew, remove both; LoRAs and judge
are trained where their files are missing.
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

from . import history
from .base_train import train_base
from .card import CARD, GRID, device_name, write_card
from .export import export
from .judge_train import PLANS as JUDGE_PLANS
from .judge_train import train_judge
from .lora import NAMES
from .lora_train import LoraSettings, train_share
from .model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS, build_vae, load_pipeline_parts
from .optim import launch, pick_device, save_atomically
from .samples import CASES, Figures
from .samples import measure as measure_world
from .tokenizer import write_text_config, write_tokenizer
from .vae_train import measure, normalise_latents, sample_picture, train_vae

WORK = Path("out/train-tiny")
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


PLANS: dict[str, Plan] = {
    "cpu": Plan(1500, 16, 5000, 64, 24_000, LoraSettings()),
    "cuda": Plan(3000, 32, 9000, 192, 60_000, LoraSettings(), lora_workers=3),
}
"""What two cores do in some hours, and what a GPU does in minutes."""


def make_tokenizer(weights: Path) -> None:
    """Writes the tokenizer's folder unless it is there."""
    folder = weights / "tokenizer"
    if not (folder / "config.json").exists():
        write_text_config(folder, write_tokenizer(folder))


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


def begin_with(weights: Path, work: Path, device: torch.device) -> None:
    """Makes finished weights the start of further training: writes vae-final.pt and start.pt to the work folder."""
    parts = load_pipeline_parts(weights / CHECKPOINT.name, weights / CONFIG.name, weights / TOKENIZER.name)
    pictures = np.stack([sample_picture(np.random.default_rng(800_000 + i)) for i in range(64)])
    quality = measure(parts.vae.to(device), pictures, device)
    work.mkdir(parents=True, exist_ok=True)
    save_atomically({"vae": parts.vae.state_dict(), "psnr": quality}, work / "vae-final.pt")
    save_atomically({"unet": parts.unet.state_dict(), "text": parts.text_encoder.state_dict()}, work / "start.pt")


def write_checkpoint(work: Path, weights: Path) -> None:
    """Writes the single file and its configuration from the stages' checkpoints."""
    base = torch.load(work / "base.pt", map_location="cpu")
    vae = torch.load(work / "vae-final.pt", map_location="cpu")["vae"]
    export(weights, base["unet"], vae, base["text"], f"trained from scratch for {base['step']} steps")


def make_judge(weights: Path, device: torch.device) -> None:
    """Trains the judge unless its weights are there."""
    if not (weights / "judge.safetensors").exists():
        train_judge(weights / "judge.safetensors", JUDGE_PLANS[device.type], device)


def draw_sheet(folder: Path, columns: int = 8) -> Image.Image:
    """One row of each of the base's cases and of each LoRA of the first set, from base.png and loras.png."""
    base, loras = (Image.open(folder / name).convert("RGB") for name in ("base.png", "loras.png"))
    height = base.width // columns - 4 + 36
    rows = [(base, 2 * case) for case in range(len(CASES))] + [(loras, row) for row in range(len(NAMES))]
    sheet = Image.new("RGB", (base.width, height * len(rows)), "white")
    for place, (picture, row) in enumerate(rows):
        sheet.paste(picture.crop((0, row * height, base.width, (row + 1) * height)), (0, place * height))
    small = sheet.resize((sheet.width * 2 // 3, sheet.height * 2 // 3), Image.Resampling.LANCZOS)
    return small.quantize(256, kmeans=3, dither=Image.Dither.NONE)


def tell(work: Path, weights: Path, device: torch.device, note: str = "") -> None:
    """Measures the finished world and writes its model card and grid of samples."""
    measured = work / "samples" / "samples.json"
    if measured.exists():
        figures = Figures(**json.loads(measured.read_text(encoding="utf-8")))
    else:
        figures = measure_world(weights, work / "samples", device, count=32, lora_count=20)
    draw_sheet(work / "samples").save(GRID, optimize=True)
    write_card(CARD, weights, figures, note)


def run(stages: Sequence[str], plan: Plan, work: Path, weights: Path, device: torch.device, note: str = "") -> None:
    """Runs the stages in their order; each skips what it finds done. note: a remark for the model card."""
    work.mkdir(parents=True, exist_ok=True)
    todo: dict[str, Callable[[], Any]] = {
        "tokenizer": lambda: make_tokenizer(weights),
        "vae": lambda: (train_vae(work, device, steps=plan.vae_steps, batch=plan.vae_batch), finish_vae(work, device)),
        "base": lambda: train_base(
            work, weights / "tokenizer", device, steps=plan.base_steps, batch=plan.base_batch, scenes=plan.scenes
        ),
        "export": lambda: write_checkpoint(work, weights),
        "loras": lambda: launch(train_share, device, weights, device, plan.lora, workers=plan.lora_workers),
        "judge": lambda: make_judge(weights, device),
        "card": lambda: tell(work, weights, device, note),
    }
    on = {"device": device_name(device.type)}
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
    for stage in STAGES:
        if stage in stages:
            print(f"== {stage}", flush=True)
            history.remember(work, weights, stage, todo[stage], facts.get(stage))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of `make train-tiny`."""
    parser = argparse.ArgumentParser(description="Train the tiny world from the renderer; resumes where it stopped.")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--work", type=Path, default=WORK, help="checkpoints between the stages")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the finished weights go")
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
    plan = replace(PLANS[device.type], **{size: getattr(options, size) for size in sizes if getattr(options, size)})
    if options.again and not (options.work / "start.pt").exists():
        begin_with(options.weights, options.work, device)
    run(options.stages, plan, options.work, options.weights, device, options.note)


if __name__ == "__main__":
    main()
