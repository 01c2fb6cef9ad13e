"""One process of the runner: model, LoRAs and judges loaded once, jobs to lines."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.quality import folder, regions
from bench.quality.detection import judged, wanted_of
from bench.quality.draw import Drawn, draw, without
from bench.quality.encoding import pack_image
from bench.quality.extractors import Extractors
from bench.quality.jobs import Job, World
from bench.quality.protocol import crops
from clora_ext.hosts.diffusers.checkpoint import load
from clora_ext.hosts.diffusers.library import Library
from tiny_world.judge import PRESENT, Found, Judge


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything a process needs to start."""

    subject: folder.Subject
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def world(self) -> World:
        """Hashes of the files and of the code that decide a picture and its verdict."""
        said = [self.subject.hashes(), folder.code(), self.dtype]
        common = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
        return World(common, self.subject.lora_hashes())


class Worker:
    """Draws and judges. ``world`` is that of its ``Setup``."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(1)
        paths, self.world = setup.subject, setup.world
        dtype = getattr(torch, setup.dtype)
        self.model = load(paths.checkpoint, paths.config, paths.tokenizer, device=setup.device, dtype=dtype)
        self.library = Library(*paths.loras)
        self.judge = paths.load_judge()
        self.extractors = Extractors.load(paths, setup.device)

    def perform(self, job: Job) -> list[dict[str, Any]]:
        """The lines of a job's pictures, one per seed."""
        batches = draw(self.model, self.library, job)
        if not batches:
            return [self._head(job, seed) | {"void": True} for seed in job.seeds]
        seen = [self._seen(job, batch) for batch in batches]
        lines = []
        for place, seed in enumerate(job.seeds):
            parts = [several[place] for several in seen]
            line = self._head(job, seed) | (parts[0] if len(parts) == 1 else _joined(parts))
            line |= {
                "rows": round(sum(batch.rows for batch in batches) / len(job.seeds), 2),
                "seconds": round(sum(batch.seconds for batch in batches) / len(job.seeds), 3),
            }
            if seed in job.keep:
                line["webp"] = [pack_image(batch.images[place]) for batch in batches]
            lines.append(line)
        if job.leak and len(batches) == 1 and job.prompt.subjects:
            self._leakage(job, batches[0], lines)
        return lines

    def _head(self, job: Job, seed: int) -> dict[str, Any]:
        return {
            "key": job.key(seed, self.world),
            "prompt": job.prompt.id,
            "split": job.prompt.split,
            "method": job.method.name,
            "weight": job.method.weight,
            "seed": seed,
        }

    def _seen(self, job: Job, batch: Drawn) -> list[dict[str, Any]]:
        """What the judges say of every picture of a batch."""
        pixels = np.stack([np.asarray(image) for image in batch.images])
        lines = self._judged(job, batch, pixels) if self.judge is not None and job.prompt.wanted else [{}] * len(pixels)
        vectors = self.extractors.of(pixels, job.prompt.prompt)
        return [line | own for line, own in zip(lines, vectors, strict=True)]

    def _judged(self, job: Job, batch: Drawn, pixels: np.ndarray) -> list[dict[str, Any]]:
        """Detection, style, masks and the crops' embeddings."""
        prompt, draws = job.prompt, job.method.draws
        wanted = wanted_of(prompt, draws, batch.lora)
        found = find(self.judge, batch.images)
        outlined = regions.silhouettes(self.extractors.eye, pixels, found, regions.ink_of(prompt))
        lines = []
        for place, (things, shapes) in enumerate(zip(found, outlined, strict=True)):
            style = regions.style(prompt, shapes, things, wanted)
            line = judged(things, prompt, wanted, style, base=draws == "base")
            if batch.lora is not None:  # one LoRA alone: its own subject counts
                own = prompt.subjects[batch.lora]
                line["subjects"] = [pair for pair in line["subjects"] if pair[0] == own]
                line["all"] = all(status == PRESENT for _, status in line["subjects"])
            if len(batch.weights) and shapes is not None:
                line["iou"] = regions.mask_ious(batch.weights[place], batch.loras, prompt, things, shapes)
            drawn = prompt if batch.lora is None else replace(prompt, subjects={batch.lora: own})
            asked = prompt.wanted if draws == "base" else wanted  # a plain thing stands for the subject of its class
            lines.append(line | crops(self.extractors, pixels[place], things, drawn, asked))
        return lines

    def _leakage(self, job: Job, batch: Drawn, lines: Sequence[dict[str, Any]]) -> None:
        """How far one LoRA moves the pixels outside its own subject, as a share of full scale."""
        loras = list(job.prompt.subjects)
        lora = loras[zlib.crc32(job.prompt.id.encode()) % len(loras)]
        plain = without(self.model, self.library, job, lora)
        pixels = [np.stack([np.asarray(image) for image in images]) for images in (batch.images, plain.images)]
        found = [find(self.judge, images) if self.judge else None for images in (batch.images, plain.images)]
        shapes = [regions.silhouettes(self.extractors.eye, *both) for both in zip(pixels, found, strict=True)]
        for place, line in enumerate(lines):
            outside = np.ones(pixels[0].shape[1:3], dtype=bool)
            for things, silhouettes in zip(found, shapes, strict=True):
                if things is not None:
                    outside &= ~regions.own_region(job.prompt, lora, things[place], silhouettes[place], outside.shape)
            moved = np.abs(pixels[0][place].astype(float) - pixels[1][place]).mean(axis=-1) / 255.0
            line["leakage"] = round(float(moved[outside].mean()) if outside.any() else 0.0, 5)


def find(judge: Judge, images: Sequence[Image.Image]) -> list[list[Found]]:
    """The subjects of every picture."""
    return [judge.find(image) for image in images]


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One line of several pictures with a LoRA each: right where every one of them is."""
    first = dict(parts[0])
    if "subjects" in first:
        first["subjects"] = [pair for part in parts for pair in part["subjects"]]
        first["extra"] = [name for part in parts for name in part["extra"]]
        first |= {name: all(part[name] for part in parts) for name in ("right", "lenient", "classes", "all")}
    if "crops" in first:
        first["crops"] = {lora: own for part in parts for lora, own in part.get("crops", {}).items()}
    return {name: value for name, value in first.items() if name not in ("dino", "clip", "clip_t")}
