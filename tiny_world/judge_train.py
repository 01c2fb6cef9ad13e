"""Trains the judge on the renderer's own pictures: `python -m tiny_world.judge_train`."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from .caption import caption
from .concepts import CONCEPTS, Look, Rgb
from .judge import CONCEPT_NAMES, IDENTITIES, STRIDE, WEIGHTS, Found, Judge, JudgeNet, Maps, decode
from .optim import Muon, schedule, set_rate, split_params
from .render import render
from .scene import CLASSES, COLOURS, Scene, sample_scene

PERSONAL_SHARE = 0.4
MIXED_SHARE = 0.28
NEAR_COLOUR_SHARE = 0.1
STYLE_SHARE = 0.08
EMPTY_SHARE = 0.02
_CREAM: Rgb = (246, 222, 184)


@dataclass(frozen=True)
class Example:
    """A picture with its answers.

    pixels: uint8 [128, 128, 3]. kinds: int64 [n], index in CLASSES. identities: int64 [n], index in CONCEPT_NAMES, -1
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


def is_foreign(kind: str, look: Look) -> bool:
    """Whether a look is far from every personal concept of its class: other marks or clearly other colours."""
    names = ("body", "accent", "stripes", "spots", "collar", "hat", "star", "door")
    for concept in CONCEPTS.values():
        if concept.kind != kind:
            continue
        same_tower = concept.look.tower == look.tower
        if same_tower and not any(_far(getattr(concept.look, name), getattr(look, name)) for name in names):
            return False
    return True


def mixed_look(kind: str, rng: np.random.Generator) -> Look:
    """A generic thing with some marks of personal concepts (often another's): neither plain nor any concept."""
    while True:
        donor = CONCEPTS[str(rng.choice(CONCEPT_NAMES))].look if rng.random() < 0.7 else Look(body=_colour(rng))
        own = CONCEPTS[str(rng.choice([n for n in CONCEPT_NAMES if CONCEPTS[n].kind == kind]))].look
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
        if marked and is_foreign(kind, look):
            return look


def judge_scene(rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
    """A scene of personal, plain and mixed things, and their identities (see Example)."""
    style = "lineart" if rng.random() < STYLE_SHARE else None
    share = PERSONAL_SHARE if style is None else 0.0
    scene = sample_scene(rng, (0.2, 0.35, 0.25, 0.2), share, style=style)
    if rng.random() < EMPTY_SHARE:
        return replace(scene, things=()), np.zeros(0, dtype=np.int64)
    things, identities = [], []
    for thing in scene.things:
        identity = -1
        draw = rng.random()
        if thing.concept is not None:
            identity = CONCEPT_NAMES.index(thing.concept)
        elif style is None and draw < MIXED_SHARE / (1 - PERSONAL_SHARE):
            thing, identity = replace(thing, look=mixed_look(thing.kind, rng)), -2
        elif style is None and draw < (MIXED_SHARE + NEAR_COLOUR_SHARE) / (1 - PERSONAL_SHARE):
            bodies = [concept.look.body for concept in CONCEPTS.values() if concept.kind == thing.kind]
            thing = replace(thing, look=Look(body=bodies[int(rng.integers(len(bodies)))]))
        things.append(thing)
        identities.append(identity)
    return replace(scene, things=tuple(things)), np.asarray(identities, dtype=np.int64)


def example(rng: np.random.Generator) -> Example:
    """A fresh picture with its answers."""
    return example_and_scene(rng)[0]


def example_and_scene(rng: np.random.Generator) -> tuple[Example, Scene]:
    """A fresh picture with its answers, and its scene; things less than 45 % visible are not asked for."""
    scene, identities = judge_scene(rng)
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


def loss(maps: Maps, wanted: dict[str, Tensor]) -> Tensor:
    """CenterNet's focal loss on the heat maps, cross-entropy of identity and style, L1 of the box."""
    truth = wanted["heat"]
    chance = maps.heat.sigmoid().clamp(1e-5, 1 - 1e-5)
    hit = truth == 1
    positive = -((1 - chance) ** 2 * chance.log())[hit].sum()
    negative = -((1 - truth) ** 4 * chance**2 * (1 - chance).log())[~hit].sum()
    things = hit.sum().clamp(min=1)
    near = wanted["near"][:, None]
    weight = near.sum().clamp(min=1)
    who = functional.binary_cross_entropy_with_logits(maps.identity, wanted["identity"], reduction="none")
    where = (maps.box - wanted["box"]).abs()
    style = functional.binary_cross_entropy_with_logits(maps.style, wanted["style"])
    return (
        (positive + negative) / things
        + 3 * (who * near).sum() / weight
        + 0.5 * (where * near).sum() / weight
        + 0.3 * style
    )


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Makes pictures of half size as imperfect as generated ones: bent, recoloured, blurred, noisy.

    Takes and gives float [b, 3, h, w] in 0..1.
    """
    count, _, height, width = pixels.shape

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    bend = torch.randn(count, 2, 7, 7, generator=generator) * uniform(count, 1, 1, 1, high=0.8) * 2 / width
    bend = functional.interpolate(bend, size=(height, width), mode="bicubic", align_corners=True)
    eye = torch.eye(2, 3)[None].expand(count, 2, 3)
    grid = functional.affine_grid(eye, [count, 3, height, width], align_corners=False)
    out = functional.grid_sample(pixels, grid + bend.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    kind = torch.randint(0, 4, (count,), generator=generator)
    soft, small = kind == 1, kind == 2
    if soft.any():
        out[soft] = functional.avg_pool2d(functional.pad(out[soft], (1, 1, 1, 1), mode="replicate"), 3, 1)
    if small.any():
        less = functional.interpolate(out[small], scale_factor=2 / 3, mode="bilinear", antialias=True)
        out[small] = functional.interpolate(less, size=(height, width), mode="bilinear")
    grey = out.mean(dim=1, keepdim=True)
    out = grey + (out - grey) * uniform(count, 1, 1, 1, low=0.75, high=1.15)
    out = out * uniform(count, 3, 1, 1, low=0.9, high=1.1) + uniform(count, 3, 1, 1, low=-0.05, high=0.05)
    patches = torch.randn(count, 3, 16, 16, generator=generator) * uniform(count, 1, 1, 1, high=0.06)
    out = out + functional.interpolate(patches, size=(height, width), mode="bilinear")
    out = out + torch.randn(out.shape, generator=generator) * uniform(count, 1, 1, 1, high=0.03)
    return out.clamp(0, 1)


def to_batch(examples: list[Example]) -> Tensor:
    """float [b, 3, 128, 128] in 0..1."""
    return torch.from_numpy(np.stack([item.pixels for item in examples])).permute(0, 3, 1, 2).float() / 255


def worsen(examples: list[Example], generator: torch.Generator) -> Tensor:
    """The examples' pictures after `augment` at half size, back at full size: float [b, 3, 128, 128] in 0..1."""
    half = augment(functional.avg_pool2d(to_batch(examples), 2), generator)
    return functional.interpolate(half, scale_factor=2, mode="nearest")


@torch.no_grad()
def through_model(count: int, seed: int, latest: int = 180) -> list[Example]:
    """Examples as the world's model draws them: through its VAE, and many through one step of its base as well.

    The base predicts the clean latents from latents noised up to step `latest` of 1000, with the scene's caption; this
    smears details as sampling does but keeps what is where; pictures with mixed things, whose marks it would wash out,
    go through the VAE alone, as all do when latest is 0.
    Raises ImportError or FileNotFoundError when there is no model yet.
    """
    from .model import alphas_cumprod, load_pipeline_parts

    parts = load_pipeline_parts()
    scale = float(parts.vae.config.scaling_factor)
    alphas = alphas_cumprod()
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    pool: list[Example] = []
    for _ in tqdm(range(0, count, 8), desc="through the model", mininterval=5):
        drawn = [example_and_scene(rng) for _ in range(8)]
        batch = [item for item, _ in drawn]
        texts = [caption(scene, rng, fillers=0.0).text if scene.things else "" for _, scene in drawn]
        ids = parts.tokenizer(texts, padding="max_length", truncation=True, max_length=77)["input_ids"]
        with torch.autocast("cpu", torch.bfloat16):
            latents = parts.vae.encode(to_batch(batch) * 2 - 1).latent_dist.mode().float() * scale
            if latest > 0:
                step = torch.randint(latest // 4, latest, (len(batch),), generator=generator)
                alpha = alphas[step].float()[:, None, None, None]
                noised = alpha.sqrt() * latents + (1 - alpha).sqrt() * torch.randn(latents.shape, generator=generator)
                context = parts.text_encoder(torch.tensor(ids)).last_hidden_state
                noise = parts.unet(noised, step, context).sample.float()
                clean = (noised - (1 - alpha).sqrt() * noise) / alpha.sqrt()
                drop = torch.rand(len(batch), 1, 1, 1, generator=generator) < 1 / 3
                drop |= torch.tensor([bool((item.identities == -2).any()) for item in batch])[:, None, None, None]
                latents = torch.where(drop, latents, clean)
            out = parts.vae.decode(latents / scale).sample
        pictures = ((out.float() + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        pool += [replace(item, pixels=pixels) for item, pixels in zip(batch, pictures, strict=True)]
    return pool


def flipped(wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The targets of the mirrored pictures."""
    turned = {name: value if name == "style" else value.flip(-1) for name, value in wanted.items()}
    turned["box"] = turned["box"][:, [2, 1, 0, 3]]
    return turned


def train(
    examples: list[Example],
    through: list[Example],
    steps: int,
    batch: int,
    seed: int,
    keep: Path | None = None,
    start: JudgeNet | None = None,
    rate: float = 0.02,
) -> JudgeNet:
    """Trains the net with Muon and AdamW in bfloat16, and writes it to `keep` on the way.

    Batches are random examples, half of them from `through` if there are any.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = (JudgeNet() if start is None else start).train()
    matrices, rest = split_params([net], outer=("head.weight", "style.weight"))
    optimisers = [Muon(matrices, lr=rate), torch.optim.AdamW(rest, lr=0.15 * rate, weight_decay=0.0)]
    both = examples + through
    halves = torch.cat([functional.avg_pool2d(to_batch([item]), 2).mul(255).round().byte() for item in both])
    wanted = targets(both)
    plain = batch - batch // 2 if through else batch
    average = None
    bar = tqdm(range(steps), desc="judge", mininterval=5)
    for step in bar:
        set_rate(optimisers, schedule(step, steps, warmup=20, decay_from=0.3))
        first = torch.randint(0, len(examples), (plain,), generator=generator)
        second = torch.randint(len(examples), max(len(both), len(examples) + 1), (batch - plain,), generator=generator)
        chosen = torch.cat([first, second])
        pixels, truth = halves[chosen].float() / 255, {name: value[chosen] for name, value in wanted.items()}
        if torch.rand((), generator=generator) < 0.5:
            pixels, truth = pixels.flip(-1), flipped(truth)
        with torch.autocast("cpu", torch.bfloat16):
            maps = net.from_half(augment(pixels, generator))
        value = loss(maps, truth)
        for optimiser in optimisers:
            optimiser.zero_grad()
        value.backward()
        for optimiser in optimisers:
            optimiser.step()
        now = float(value.detach())
        average = now if average is None else 0.97 * average + 0.03 * now
        if step % 20 == 0:
            bar.set_postfix(loss=f"{average:.3f}")
        if keep is not None and step % 100 == 99:
            Judge(net).save(keep)
            net.train()
    return net.eval()


def label_of(kind: int, identity: int) -> str:
    """The name the judge should give: the concept, else the class."""
    return CONCEPT_NAMES[identity] if identity >= 0 else CLASSES[kind]


def match(found: list[Found], centre: np.ndarray) -> Found | None:
    """The subject found nearest to a centre, within 9 pixels."""
    if not found:
        return None
    nearest = min(found, key=lambda f: float(np.hypot(f.centre[0] - centre[0], f.centre[1] - centre[1])))
    return nearest if np.hypot(nearest.centre[0] - centre[0], nearest.centre[1] - centre[1]) <= 9 else None


@torch.no_grad()
def evaluate(net: JudgeNet, examples: list[Example]) -> dict[str, object]:
    """Held-out figures, all as shares.

    Per label the things found with the right name and the precision; the same over all things, and over those that are
    no hard negatives; mixed things flagged and plain ones not flagged; pictures with exactly the right subjects;
    pictures whose style is told rightly.
    """
    right = dict.fromkeys(IDENTITIES, 0)
    usual_right, usual = 0, 0
    asked = dict.fromkeys(IDENTITIES, 0)
    named = dict.fromkeys(IDENTITIES, 0)
    flagged, mixed, plain_flagged, plain, exact, style = 0, 0, 0, 0, 0, 0
    for first in range(0, len(examples), 32):
        part = examples[first : first + 32]
        maps = net(to_batch(part))
        for b, item in enumerate(part):
            found = decode(maps.heat[b], maps.identity[b], maps.box[b])
            style += int((float(maps.style[b]) > 0) == item.lineart)
            for f in found:
                named[f.name] += 1
            names = sorted(label_of(k, i) for k, i in zip(item.kinds, item.identities, strict=True))
            exact += int(names == sorted(f.name for f in found))
            for kind, who, centre in zip(item.kinds, item.identities, item.centres, strict=True):
                label = label_of(kind, who)
                asked[label] += 1
                f = match(found, centre)
                hit = f is not None and f.name == label
                right[label] += int(hit)
                usual, usual_right = usual + int(who != -2), usual_right + int(hit and who != -2)
                if who == -2:
                    mixed += 1
                    flagged += int(f is not None and f.mixed)
                elif who == -1:
                    plain += 1
                    plain_flagged += int(f is not None and f.mixed)
    return {
        "pictures": len(examples),
        "things": sum(asked.values()),
        "found_with_right_name": {n: round(right[n] / max(asked[n], 1), 4) for n in IDENTITIES},
        "precision": {n: round(right[n] / max(named[n], 1), 4) for n in IDENTITIES},
        "all": round(sum(right.values()) / max(sum(asked.values()), 1), 4),
        "plain_and_personal": round(usual_right / max(usual, 1), 4),
        "mixed_flagged": round(flagged / max(mixed, 1), 4),
        "plain_not_flagged": round(1 - plain_flagged / max(plain, 1), 4),
        "pictures_exactly_right": round(exact / max(len(examples), 1), 4),
        "style": round(style / max(len(examples), 1), 4),
    }


def _table(title: str, figures: dict[str, object]) -> str:
    """The figures as a short table."""
    recall, precision = figures["found_with_right_name"], figures["precision"]
    lines = [f"{title}: {figures['things']} things in {figures['pictures']} pictures"]
    lines += [f"  {name:12s} {recall[name]:7.2%}  precision {precision[name]:7.2%}" for name in IDENTITIES]  # type: ignore[index]
    rest = ("all", "plain_and_personal", "mixed_flagged", "plain_not_flagged", "pictures_exactly_right", "style")
    lines += [f"  {name:24s} {figures[name]:7.2%}" for name in rest]
    return "\n".join(lines)


def main() -> None:
    """Trains, measures on held-out pictures, and writes the weights and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=450, help="steps on the renderer's pictures")
    parser.add_argument("--more", type=int, default=950, help="further steps, half of each batch through the model")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", choices=("auto", "yes", "no"), default="auto", help="use the world's model")
    parser.add_argument("--pictures", type=int, default=6000, help="pictures to train on, as the renderer draws them")
    parser.add_argument("--through", type=int, default=320, help="pictures drawn through the model")
    parser.add_argument("--held-out", type=int, default=600)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--start", type=Path, help="weights of a first part trained before")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    began = time.time()
    rng = np.random.default_rng(arguments.seed)
    through: list[Example] = []
    held_through: list[Example] = []
    if arguments.model != "no":
        try:
            through = through_model(arguments.through, arguments.seed + 1)
            held_through = through_model(48, arguments.seed + 500, latest=0)
        except (ImportError, FileNotFoundError) as problem:
            if arguments.model == "yes":
                raise
            print(f"without the model: {problem}")
    examples = [example(rng) for _ in tqdm(range(arguments.pictures), desc="pictures", mininterval=5)]
    if arguments.start is None:
        net = train(examples, [], arguments.steps, arguments.batch, arguments.seed, arguments.out)
    else:
        net = Judge.load(arguments.start).net
    if through:
        net = train(examples, through, arguments.more, arguments.batch, arguments.seed + 9, arguments.out, net, 0.01)
    judge = Judge(net)
    judge.save(arguments.out)
    net = Judge.load(arguments.out).net
    rng = np.random.default_rng(arguments.seed + 100_000)
    held = [example(rng) for _ in range(arguments.held_out)]
    generator = torch.Generator().manual_seed(arguments.seed + 7)
    worse = [
        replace(item, pixels=(255 * pixels).round().byte().permute(1, 2, 0).numpy())
        for first in range(0, len(held), 64)
        for item, pixels in zip(held[first : first + 64], worsen(held[first : first + 64], generator), strict=True)
    ]
    report: dict[str, object] = {
        "steps": arguments.steps if arguments.start is None else "trained before",
        "steps_through_model": arguments.more if through else 0,
        "batch": arguments.batch,
        "seed": arguments.seed,
        "pictures": len(examples),
        "through_model": len(through),
        "parameters": sum(p.numel() for p in net.parameters()),
        "held_out": evaluate(net, held),
        "held_out_augmented": evaluate(net, worse),
    }
    if held_through:
        report["held_out_through_vae"] = evaluate(net, held_through)
    report["seconds"] = round(time.time() - began)
    for title in ("held_out", "held_out_augmented", "held_out_through_vae"):
        if title in report:
            print(_table(title, report[title]))  # type: ignore[arg-type]
    arguments.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
