"""The reference cases of ``tests/golden/obvious`` as requests: one reading of them for both hosts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "obvious"


@dataclass(frozen=True)
class Case:
    """One case: the prompt, the object of named fields for the API, the sampler's numbers, the pictures to match."""

    name: str
    prompt: str
    negative: str
    fields: dict[str, Any]
    steps: int
    cfg_scale: float
    width: int
    height: int
    pictures: dict[int, Path]


def names() -> list[str]:
    """All cases."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read(name: str) -> Case:
    """The case as a request in the profile ``authors``; nothing in it exists for these tests alone."""
    data = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    job = data["job"]
    subjects = [
        {
            "lora": subject["lora"],
            "weight": subject["weight"],
            "subject": subject["subject"],
            "occurrence": subject["occurrence"] + 1,
            "trigger": subject["trigger"],
        }
        for subject in data["subjects"]
    ]
    styles = [{"lora": use["name"], "weight": use["weight"], "role": "style"} for use in data["style"]]
    fields = {
        "profile": "authors",
        "method": "clora" if job["update_until"] else "masks",
        "mask_threshold": job["threshold"],
        "update_until": job["update_until"],
        "step_size": job["alpha"],
        "rounds_at": list(job["extra_steps"]),
        "rounds": job["extra_rounds"],
        "bindings": subjects + styles,
    }
    pictures = {picture["seed"]: FOLDER / f"{name}-s{picture['seed']}.png" for picture in data["pictures"]}
    size = {"width": job["width"], "height": job["height"]}
    numbers = job["steps"], job["guidance"]
    return Case(name, data["prompt"], data["negative"], fields, *numbers, **size, pictures=pictures)


def difference(expected: Path, found: Image.Image) -> tuple[int, float]:
    """Largest and mean difference of 255. A match is at most 2, and under 0.002 in the mean."""
    a, b = (np.asarray(image.convert("RGB"), dtype=int) for image in (Image.open(expected), found))
    delta = np.abs(a - b)
    return int(delta.max()), float(delta.mean())
