"""What the judge learns from: pictures of personal, plain and mixed things with their answers, made imperfect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from .caption import caption
from .concepts import CONCEPTS, Concept, Look, Rgb
from .judge import CONCEPT_NAMES, STRIDE
from .model import CHECKPOINT, CONFIG, TOKENIZER, alphas_cumprod, load_pipeline_parts
from .optim import fan_out, helpers
from .render import render
from .scene import CLASSES, COLOURS, Scene, sample_scene

PERSONAL_SHARE = 0.4
MIXED_SHARE = 0.28
NEAR_COLOUR_SHARE = 0.1
STYLE_SHARE = 0.08
EMPTY_SHARE = 0.02
Concepts = Mapping[str, Concept]
_CREAM: Rgb = (246, 222, 184)
CHUNK = 64


@dataclass(frozen=True)
class Example:
    """A picture with its answers.

    pixels: uint8 [128, 128, 3]. kinds: int64 [n], index in CLASSES. identities: int64 [n], index in the concepts, -1
    for a plain generic thing, -2 for one with mixed marks. centres: float32 [n, 2] x, y in pixels. boxes: float32
    [n, 4]. lineart: whether the picture is in the line-art style.
    """

    pixels: np.ndarray
    kinds: np.ndarray
    identities: np.ndarray
    centres: np.ndarray
    boxes: np.ndarray
    lineart: bool


def _colour(rng: np.random.Generator) -> Rgb:
    return COLOURS[str(rng.choice(list(COLOURS)))]


def _far(a: Rgb | None, b: Rgb | None) -> bool:
    """Whether two colours differ clearly (or only one of them is there)."""
    if a is None or b is None:
        return (a is None) != (b is None)
    return float(np.linalg.norm(np.subtract(a, b))) > 95


def is_foreign(kind: str, look: Look, concepts: Concepts = CONCEPTS) -> bool:
    """Whether a look is far from every personal concept of its class: other marks or clearly other colours."""
    names = ("body", "accent", "stripes", "spots", "collar", "hat", "star", "door")
    for concept in concepts.values():
        if concept.kind != kind:
            continue
        same_tower = concept.look.tower == look.tower
        if same_tower and not any(_far(getattr(concept.look, name), getattr(look, name)) for name in names):
            return False
    return True


def mixed_look(kind: str, rng: np.random.Generator, concepts: Concepts = CONCEPTS) -> Look:
    """A generic thing with some marks of personal concepts (often another's): neither plain nor any concept."""
    while True:
        donor = concepts[str(rng.choice(tuple(concepts)))].look if rng.random() < 0.7 else Look(body=_colour(rng))
        own = concepts[str(rng.choice([n for n in concepts if concepts[n].kind == kind]))].look
        body = (donor.body, own.body, _colour(rng))[int(rng.integers(3))]
        if kind in ("cat", "dog", "bunny"):
            shade = (60, 40, 36) if rng.random() < 0.5 else _colour(rng)
            pale = (250, 250, 250) if rng.random() < 0.5 else _CREAM if rng.random() < 0.6 else _colour(rng)
            red = (225, 30, 40) if rng.random() < 0.5 else _colour(rng)
            marks = rng.random(5) < (0.4, 0.25, 0.25, 0.3, 0.25)
            look = Look(
                body=body,
                accent=pale if marks[0] else None,
                stripes=shade if marks[1] else None,
                spots=shade if marks[2] and not marks[1] else None,
                collar=red if marks[3] else None,
                hat=red if marks[4] else None,
            )
            marked = any((marks[0] and _far(pale, body), marks[1], marks[2], marks[3], marks[4]))
            if (look.stripes or look.spots) and not _far(look.stripes or look.spots, body):
                continue
            if look.collar and not _far(look.collar, body) or look.hat and not _far(look.hat, body):
                continue
            if look.accent and not _far(look.accent, body):
                continue
            if look.accent and look.spots and not _far(look.accent, look.spots):
                continue
        elif kind == "flower":
            look = Look(body=body, accent=donor.accent or donor.stripes or _colour(rng))
            marked = _far(look.body, look.accent)
        elif kind == "ball":
            look = Look(body=body, star=donor.accent or donor.collar or donor.star or _colour(rng))
            marked = _far(look.body, look.star)
        else:
            parts = rng.random(3) < (0.6, 0.5, 0.4)
            roof = own.accent if rng.random() < 0.5 else _colour(rng)
            door = own.door if rng.random() < 0.5 else _colour(rng)
            look = Look(
                body=body,
                accent=roof if parts[0] else None,
                door=door if parts[1] else None,
                tower=bool(parts[2]),
            )
            marked = bool(parts[2]) or (parts[0] and _far(roof, (150, 62, 48)) and _far(roof, (92, 84, 92)))
        if marked and is_foreign(kind, look, concepts):
            return look


def judge_scene(rng: np.random.Generator, concepts: Concepts = CONCEPTS) -> tuple[Scene, np.ndarray]:
    """A scene of personal, plain and mixed things, and their identities (see Example)."""
    style = "lineart" if rng.random() < STYLE_SHARE else None
    share = PERSONAL_SHARE if style is None else 0.0
    scene = sample_scene(rng, (0.2, 0.35, 0.25, 0.2), share, style=style, known=concepts)
    if rng.random() < EMPTY_SHARE:
        return replace(scene, things=()), np.zeros(0, dtype=np.int64)
    things, identities = [], []
    for thing in scene.things:
        identity = -1
        draw = rng.random()
        if thing.concept is not None:
            identity = tuple(concepts).index(thing.concept)
        elif style is None and draw < MIXED_SHARE / (1 - PERSONAL_SHARE):
            thing, identity = replace(thing, look=mixed_look(thing.kind, rng, concepts)), -2
        elif style is None and draw < (MIXED_SHARE + NEAR_COLOUR_SHARE) / (1 - PERSONAL_SHARE):
            bodies = [concept.look.body for concept in concepts.values() if concept.kind == thing.kind]
            thing = replace(thing, look=Look(body=bodies[int(rng.integers(len(bodies)))]))
        things.append(thing)
        identities.append(identity)
    return replace(scene, things=tuple(things)), np.asarray(identities, dtype=np.int64)


def example(rng: np.random.Generator, concepts: Concepts = CONCEPTS) -> Example:
    """A fresh picture with its answers."""
    return example_and_scene(rng, concepts)[0]


def example_and_scene(rng: np.random.Generator, concepts: Concepts = CONCEPTS) -> tuple[Example, Scene]:
    """A fresh picture with its answers, and its scene; things less than 45 % visible are not asked for."""
    scene, identities = judge_scene(rng, concepts)
    picture = render(scene)
    visible = picture.silhouettes.sum(axis=(1, 2)) / np.maximum(picture.areas, 1)
    seen = [i for i in range(len(scene.things)) if visible[i] > 0.45]
    centres = [(scene.things[i].x * 128, scene.things[i].y * 128) for i in seen]
    answers = Example(
        pixels=picture.pixels,
        kinds=np.asarray([CLASSES.index(scene.things[i].kind) for i in seen], dtype=np.int64),
        identities=identities[seen],
        centres=np.asarray(centres, np.float32).reshape(-1, 2),
        boxes=picture.boxes[seen].astype(np.float32).reshape(-1, 4),
        lineart=scene.style == "lineart",
    )
    return answers, scene


def targets(examples: list[Example]) -> dict[str, Tensor]:
    """Training targets on the judge's grid.

    heat [b, 6, h, w]: a bump at each thing's centre, 1 at the centre's cell. near [b, h, w]: weight of a cell for
    identity and box, 1 at the centre's cell and less beside it. identity [b, 9, h, w] in 0..1. box [b, 4, h, w] in
    units of 32 pixels. style [b].
    """
    n = 128 // STRIDE
    count = len(examples)
    heat = np.zeros((count, len(CLASSES), n, n), np.float32)
    near = np.zeros((count, n, n), np.float32)
    identity = np.zeros((count, len(CONCEPT_NAMES) + 1, n, n), np.float32)
    box = np.zeros((count, 4, n, n), np.float32)
    rows, columns = np.mgrid[0:n, 0:n]
    for b, item in enumerate(examples):
        for kind, who, (x, y), (left, top, right, bottom) in zip(
            item.kinds, item.identities, item.centres, item.boxes, strict=True
        ):
            column, row = min(int(x / STRIDE), n - 1), min(int(y / STRIDE), n - 1)
            sigma = max(right - left, bottom - top) / STRIDE / 7
            bump = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2)).astype(np.float32)
            heat[b, kind] = np.maximum(heat[b, kind], bump)
            mine = (bump > 0.25) & (bump > near[b])
            near[b] = np.where(mine, bump, near[b])
            values = np.zeros(len(CONCEPT_NAMES) + 1, np.float32)
            if who >= 0:
                values[who] = 1
            elif who == -2:
                values[-1] = 1
            identity[b][:, mine] = values[:, None]
            cx, cy = (columns[mine] + 0.5) * STRIDE, (rows[mine] + 0.5) * STRIDE
            box[b][:, mine] = np.stack([cx - left, cy - top, right - cx, bottom - cy]) / 32
    style = np.asarray([item.lineart for item in examples], np.float32)
    arrays = {"heat": heat, "near": near, "identity": identity, "box": box, "style": style}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _chunk(seed: tuple[int, int]) -> list[tuple[Example, Scene]]:
    rng = np.random.default_rng(list(seed))
    return [example_and_scene(rng) for _ in range(CHUNK)]


def examples_and_scenes(count: int, seed: int, device: torch.device, title: str) -> list[tuple[Example, Scene]]:
    """count fresh pictures with their answers and scenes, drawn by several processes beside a GPU."""
    seeds = [(seed, place) for place in range(-(-count // CHUNK))]
    chunks = tqdm(fan_out(_chunk, seeds, helpers(device)), total=len(seeds), desc=title, mininterval=5)
    return [item for chunk in chunks for item in chunk][:count]


def to_batch(examples: list[Example]) -> Tensor:
    """float [b, 3, 128, 128] in 0..1."""
    return torch.from_numpy(np.stack([item.pixels for item in examples])).permute(0, 3, 1, 2).float() / 255


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Makes pictures of half size as imperfect as generated ones: bent, recoloured, blurred, noisy.

    Takes and gives float [b, 3, h, w] in 0..1.
    """
    count, _, height, width = pixels.shape

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, generator=generator, device=pixels.device) * (high - low) + low

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=pixels.device)

    bend = (
        torch.randn(count, 2, 7, 7, generator=generator, device=pixels.device)
        * uniform(count, 1, 1, 1, high=0.8)
        * 2
        / width
    )
    bend = functional.interpolate(bend, size=(height, width), mode="bicubic", align_corners=True)
    eye = torch.eye(2, 3, device=pixels.device)[None].expand(count, 2, 3)
    grid = functional.affine_grid(eye, [count, 3, height, width], align_corners=False)
    out = functional.grid_sample(pixels, grid + bend.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    kind = torch.randint(0, 4, (count,), generator=generator, device=pixels.device)
    soft, small = kind == 1, kind == 2
    if soft.any():
        out[soft] = functional.avg_pool2d(functional.pad(out[soft], (1, 1, 1, 1), mode="replicate"), 3, 1)
    if small.any():
        less = functional.interpolate(out[small], scale_factor=2 / 3, mode="bilinear", antialias=True)
        out[small] = functional.interpolate(less, size=(height, width), mode="bilinear")
    grey = out.mean(dim=1, keepdim=True)
    out = grey + (out - grey) * uniform(count, 1, 1, 1, low=0.75, high=1.15)
    out = out * uniform(count, 3, 1, 1, low=0.9, high=1.1) + uniform(count, 3, 1, 1, low=-0.05, high=0.05)
    patches = normal(count, 3, 16, 16) * uniform(count, 1, 1, 1, high=0.06)
    out = out + functional.interpolate(patches, size=(height, width), mode="bilinear")
    out = out + normal(*out.shape) * uniform(count, 1, 1, 1, high=0.03)
    return out.clamp(0, 1)


def worsen(examples: list[Example], generator: torch.Generator) -> Tensor:
    """The examples' pictures after `augment` at half size, back at full size: float [b, 3, 128, 128] in 0..1."""
    half = augment(functional.avg_pool2d(to_batch(examples), 2), generator)
    return functional.interpolate(half, scale_factor=2, mode="nearest")


@torch.no_grad()
def through_model(folder: Path, count: int, seed: int, device: torch.device, latest: int = 180) -> list[Example]:
    """Examples as the world's model draws them: through its VAE, and many through one step of its base as well.

    The base predicts the clean latents from latents noised up to step `latest` of 1000, with the scene's caption; this
    smears details as sampling does but keeps what is where; pictures with mixed things, whose marks it would wash out,
    go through the VAE alone, as all do when latest is 0. folder: where the model's weights are. Raises
    FileNotFoundError if they are not there.
    """
    parts = load_pipeline_parts(folder / CHECKPOINT.name, folder / CONFIG.name, folder / TOKENIZER.name)
    for net in (parts.unet, parts.vae, parts.text_encoder):
        net.to(device)
    scale = float(parts.vae.config.scaling_factor)
    alphas = alphas_cumprod()
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    size = 8 if device.type == "cpu" else CHUNK
    drawn = examples_and_scenes(count, seed, device, "pictures for the model")
    pool: list[Example] = []
    for start in tqdm(range(0, count, size), desc="through the model", mininterval=5):
        batch = [item for item, _ in drawn[start : start + size]]
        scenes = [scene for _, scene in drawn[start : start + size]]
        texts = [caption(scene, rng, fillers=0.0).text if scene.things else "" for scene in scenes]
        ids = parts.tokenizer(texts, padding="max_length", truncation=True, max_length=77)["input_ids"]
        with torch.autocast(device.type, torch.bfloat16):
            latents = parts.vae.encode(to_batch(batch).to(device) * 2 - 1).latent_dist.mode().float() * scale
            if latest > 0:
                step = torch.randint(latest // 4, latest, (len(batch),), generator=generator)
                alpha = alphas[step].float()[:, None, None, None].to(device)
                fresh = torch.randn(latents.shape, generator=generator).to(device)
                noised = alpha.sqrt() * latents + (1 - alpha).sqrt() * fresh
                context = parts.text_encoder(torch.tensor(ids, device=device)).last_hidden_state
                noise = parts.unet(noised, step.to(device), context).sample.float()
                clean = (noised - (1 - alpha).sqrt() * noise) / alpha.sqrt()
                kept = torch.rand(len(batch), generator=generator) < 1 / 3
                kept |= torch.tensor([bool((item.identities == -2).any()) for item in batch])
                latents = torch.where(kept[:, None, None, None].to(device), latents, clean)
            out = parts.vae.decode(latents / scale).sample
        pictures = ((out.float() + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        pool += [replace(item, pixels=pixels) for item, pixels in zip(batch, pictures, strict=True)]
    return pool
