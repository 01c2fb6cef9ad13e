"""The paper's protocol (CLoRA, section 4): similarity of a composed picture to pictures of each LoRA alone.

Per LoRA the mean cosine to its references, then min, avg and max over a picture's LoRAs; on whole pictures, and on
crops of the things that a detector found. CLIP-T is the cosine to the prompt's text, not scaled. Ours is ``strength``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.quality.detection import of_subject
from bench.quality.encoding import pack, unpack
from bench.quality.extractors import Extractors
from bench.quality.jobs import Job
from bench.quality.methods import Method
from bench.quality.prompts import Prompt, Sampling
from clora_ext.engine.prepare import bind_prompts
from clora_ext.hosts.diffusers.library import Library
from clora_ext.prompt import read_bindings
from tiny_world.judge import Found

EXTRACTORS = ("dino", "clip")
References = dict[str, dict[str, np.ndarray]]
"""Per LoRA and measure (dino, clip, dino_crop, clip_crop), embeddings [n, width]."""


def reference_jobs(
    library: Library, prompts: Sequence[Prompt], count: int, weight: float, sampling: Sampling
) -> list[Job]:
    """``count`` pictures of each LoRA's subject alone, with that LoRA, once per wording of the prompts."""
    made: dict[str, Job] = {}
    for prompt in prompts:
        (bound,) = bind_prompts([prompt.prompt], read_bindings(list(prompt.bindings)), library.facts)
        for subject in bound.subjects:
            words = f"{subject.trigger} {subject.words}" if subject.trigger else subject.words
            text = f"a {words} <lora:{subject.lora}:{subject.unet:g}>"
            own = {subject.lora: prompt.subjects[subject.lora]} if subject.lora in prompt.subjects else {}
            bindings = ({"lora": subject.lora, "subject": subject.words, "trigger": subject.trigger},)
            alone = Prompt(f"reference {subject.lora} {words}", "reference", text, own, (), None, bindings)
            method = Method("reference", "single", weight=weight)
            made[alone.id] = Job(alone, method, tuple(range(1, count + 1)), sampling)
    return list(made.values())


def crops(
    extractors: Extractors, picture: np.ndarray, things: Sequence[Found], prompt: Prompt, wanted: Sequence[str]
) -> dict[str, Any]:
    """Embeddings of the crops of a picture's subjects, per LoRA; a subject that is not there has none."""
    chosen = {lora: of_subject(things, name, wanted) for lora, name in prompt.subjects.items()}
    there = {lora: square(picture, thing.box) for lora, thing in chosen.items() if thing is not None}
    if not there or not extractors.images:
        return {}
    made = [extractors.embedded(crop[None])[0] for crop in there.values()]
    return {"crops": {lora: {name: pack(v) for name, v in own.items()} for lora, own in zip(there, made, strict=True)}}


def square(picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The square around a box (left, top, right, bottom), a tenth wider; outside the picture its edge is repeated."""
    height, width = picture.shape[:2]
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = max(4, round(0.55 * max(box[2] - box[0], box[3] - box[1])))
    columns = np.clip(np.arange(round(x) - half, round(x) + half), 0, width - 1)
    rows = np.clip(np.arange(round(y) - half, round(y) + half), 0, height - 1)
    return picture[rows][:, columns]


def references(lines: Sequence[Mapping[str, Any]]) -> References:
    """Embeddings of the reference pictures' lines."""
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for line in lines:
        lora = line["prompt"].split(" ")[1]
        own = found.setdefault(lora, {})
        for name in EXTRACTORS:
            if name in line:
                own.setdefault(name, []).append(unpack(line[name]))
            if name in (crop := line.get("crops", {}).get(lora, {})):
                own.setdefault(f"{name}_crop", []).append(unpack(crop[name]))
    return {lora: {name: np.stack(v) for name, v in own.items()} for lora, own in found.items()}


def similarities(line: Mapping[str, Any], loras: Sequence[str], known: References) -> dict[str, float]:
    """``dino_min``, ``dino_avg``, ``dino_max`` and so on of one picture.

    A subject that no crop was found of counts as 0 in the instance-level measures.
    """
    found: dict[str, float] = {"clip_t": line["clip_t"]} if "clip_t" in line else {}
    for name in EXTRACTORS:
        for measure in (name, f"{name}_crop"):
            if name not in line or any(measure not in known.get(lora, {}) for lora in loras) or not loras:
                continue
            each = [_mean_cosine(line, lora, name, measure, known) for lora in loras]
            found |= {f"{measure}_min": min(each), f"{measure}_avg": sum(each) / len(each), f"{measure}_max": max(each)}
    return found


def strength(line: Mapping[str, Any], loras: Sequence[str], known: References) -> float | None:
    """How near the subjects of ``loras`` that are there come to their references: the mean cosine of crops (DINO) as a
    share of that between two references. 1: as near as another picture of the LoRA alone; None where none is there."""
    shares = []
    for lora in loras:
        crop = line.get("crops", {}).get(lora, {}).get("dino")
        refs = known.get(lora, {}).get("dino_crop", ())
        if crop is not None and len(refs) > 1:
            cosines = refs @ refs.T
            between = cosines[~np.eye(len(refs), dtype=bool)].mean()
            shares.append(float((refs @ unpack(crop)).mean() / between))
    return sum(shares) / len(shares) if shares else None


def _mean_cosine(line: Mapping[str, Any], lora: str, name: str, measure: str, known: References) -> float:
    holder = line if measure == name else line.get("crops", {}).get(lora, {})
    return float((known[lora][measure] @ unpack(holder[name])).mean()) if name in holder else 0.0
