"""Feature extractors of the paper's protocol: DINO and CLIP from local folders, or the eye for the tiny world."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.quality.encoding import pack
from bench.quality.eye import SIZE, Eye
from bench.quality.folder import Subject
from clora_ext.prompt import remove_tags

Look = Callable[[np.ndarray], Tensor]
"""Pictures uint8 [n, h, w, 3] to embeddings [n, width] of length 1."""
Read = Callable[[str], Tensor]
"""A text to its CLIP embedding [width] of length 1."""


@dataclass(frozen=True)
class Extractors:
    """``images`` by name (dino, clip), ``read`` for texts where there is a CLIP, ``eye`` for the tiny world."""

    images: Mapping[str, Look] = field(default_factory=dict)
    read: Read | None = None
    eye: Eye | None = None

    @classmethod
    def load(cls, subject: Subject, device: str = "cpu") -> "Extractors":
        """A user's folders where there are any, else the eye, else nothing."""
        images: dict[str, Look] = {}
        read: Read | None = None
        size = subject.world.size if subject.world else SIZE
        eye = Eye.load(subject.eye, size) if subject.eye else None
        if eye is not None:
            images = {"dino": lambda pictures: eye.see(pictures)[0], "clip": lambda pictures: eye.see(pictures)[1]}
            read = eye.read
        if subject.dino is not None:
            images["dino"] = dino(subject.dino, device)
        if subject.clip is not None:
            images["clip"], read = clip(subject.clip, device)
        return cls(images, read, eye)

    def embedded(self, pictures: np.ndarray) -> list[dict[str, Tensor]]:
        """Every extractor's embedding of each picture."""
        found = {name: look(pictures) for name, look in self.images.items()}
        return [{name: vectors[i] for name, vectors in found.items()} for i in range(len(pictures))]

    def of(self, pictures: np.ndarray, prompt: str) -> list[dict[str, Any]]:
        """What stands in each picture's line: packed embeddings, and the cosine of CLIP's with the prompt's text."""
        text = self.read(remove_tags(prompt)) if self.read is not None else None
        lines = []
        for own in self.embedded(pictures):
            line: dict[str, Any] = {name: pack(vector) for name, vector in own.items()}
            if text is not None:
                line["clip_t"] = round(float(own["clip"] @ text), 4)
            lines.append(line)
        return lines


def dino(folder: Path, device: str) -> Look:
    """A DINO folder (for example facebook/dino-vits16): the class token of the last layer."""
    from transformers import AutoImageProcessor, AutoModel

    process = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval().to(device)

    @torch.no_grad()
    def look(pictures: np.ndarray) -> Tensor:
        pixels = process(list(pictures), return_tensors="pt").to(device)
        return functional.normalize(model(**pixels).last_hidden_state[:, 0].float().cpu())

    return look


def clip(folder: Path, device: str) -> tuple[Look, Read]:
    """A CLIP folder (for example openai/clip-vit-base-patch32): projected embeddings of pictures and texts."""
    from transformers import AutoProcessor, CLIPModel

    process = AutoProcessor.from_pretrained(folder, local_files_only=True)
    model = CLIPModel.from_pretrained(folder, local_files_only=True).eval().to(device)

    @torch.no_grad()
    def look(pictures: np.ndarray) -> Tensor:
        pixels = process(images=list(pictures), return_tensors="pt").to(device)
        states = model.vision_model(pixel_values=pixels["pixel_values"]).pooler_output
        return functional.normalize(model.visual_projection(states).float().cpu())

    @torch.no_grad()
    def read(text: str) -> Tensor:
        words = process(text=[text], return_tensors="pt", truncation=True).to(device)
        states = model.text_model(input_ids=words["input_ids"], attention_mask=words["attention_mask"]).pooler_output
        return functional.normalize(model.text_projection(states).float().cpu())[0]

    return look, read
