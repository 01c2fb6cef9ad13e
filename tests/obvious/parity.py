"""The reference outputs of the authors' own code: where they lie and how to run them with the obvious pipeline."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from .pipeline import BranchSpec, Job, LoraUse, Model, load_model


def parity_folder() -> Path:
    """Folder of the reference outputs: environment variable CLORA_PARITY, else `shared/parity` beside the checkout."""
    default = Path(__file__).resolve().parents[3] / "shared" / "parity"
    return Path(os.environ.get("CLORA_PARITY", default))


def load_parity_model(folder: Path) -> Model:
    """The tiny SD1 checkpoint of the reference outputs."""
    checkpoint = folder / "checkpoint" / "tiny-sd1.safetensors"
    return load_model(checkpoint, checkpoint.with_suffix(".yaml"), folder / "tiny-clip")


def parity_loras(folder: Path) -> dict[str, Path]:
    """Paths of the LoRAs by name."""
    return {path.stem: path for path in sorted((folder / "lora").glob("*.safetensors"))}


def golden_job(folder: Path, case: str) -> Job:
    """The job of a reference output such as "A06-s1"."""
    golden = json.loads((folder / "golden" / f"{case}.json").read_text(encoding="utf-8"))
    settings = golden["settings"]
    specs = zip(golden["prompts"], golden["negative"], golden["loras"], strict=True)
    return Job(
        branches=tuple(BranchSpec(text, negative, (LoraUse(lora),) if lora else ()) for text, negative, lora in specs),
        groups=tuple(golden["groups"]),
        mask_tokens=tuple(tuple(tokens) for tokens in golden["mask_indices"]),
        seeds=(golden["seed"],),
        width=golden["size"],
        height=golden["size"],
        steps=settings["T"],
        guidance=golden["cfg"],
        threshold=settings["mask_threshold_alpha"],
        alpha=settings["step_size"],
        update_until=settings["max_iter_to_alter"] if settings["latent_update"] else 0,
        extra_steps=tuple(settings["iterative_steps"]),
        extra_rounds=settings["iterative_steps_steps"],
    )


def picture_difference(a: np.ndarray, b: np.ndarray) -> tuple[int, float]:
    """Largest and mean absolute difference of two uint8 pictures of one size."""
    delta = np.abs(a.astype(int) - b.astype(int))
    return int(delta.max()), float(delta.mean())
