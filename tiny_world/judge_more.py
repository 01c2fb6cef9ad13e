"""The judge of the world of SDXL's topology: the first world's, unchanged, with names for the looks that are new there.

A new look is named by a small head on what the judge's frozen network sees at a thing's centre; a drawn style by the
hue of the picture that the judge calls line art. So whatever the judge says of the eight looks that it knows it says
here too, but for a thing that the head claims. `python -m tiny_world.judge_more` trains the head.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from .concepts import XL_CONCEPTS
from .judge import CONCEPT_NAMES, STRIDE, WEIGHTS, Found, Judge, JudgeNet, decode, to_pixels
from .judge_data import Example, augment, example, to_batch
from .scene import CLASSES

NEW: tuple[str, ...] = tuple(name for name in XL_CONCEPTS if name not in CONCEPT_NAMES)
SCALE = 128 / 192
"""The judge knows things of the first world's size."""
HEAD = "judge-more.safetensors"
CHUNK = 32


def make_head() -> nn.Sequential:
    """An untrained head: from the 80 numbers that the judge sees in a cell to one logit for each new look."""
    return nn.Sequential(nn.Linear(80, 64), nn.SiLU(), nn.Linear(64, len(NEW)))


class MoreJudge(Judge):
    """The judge with a head for new looks, for pictures of 192 pixels and the like."""

    def __init__(self, net: JudgeNet, head: nn.Sequential) -> None:
        super().__init__(net)
        self.head = head.eval()

    @classmethod
    def load_with_head(cls, head: Path, judge: Path = WEIGHTS) -> MoreJudge:
        """Reads both files. Raises FileNotFoundError with what to run for one that is missing."""
        if not head.is_file():
            raise FileNotFoundError(f"there are no weights at {head}: run `python -m tiny_world.judge_more`")
        made = make_head()
        made.load_state_dict({name: tensor.float() for name, tensor in load_file(str(head)).items()})
        return cls(Judge.load(judge).net, made)

    @torch.no_grad()
    def find(self, image: Image.Image | np.ndarray) -> list[Found]:
        """The subjects in a picture, best first, in its own pixels."""
        fine, coarse = self.net.features(functional.avg_pool2d(to_pixels(smaller(image)), 2))
        maps = self.net.read(fine, coarse)
        found = decode(maps.heat[0], maps.identity[0], maps.box[0])
        return [enlarged(self.named(thing, fine[0])) for thing in found]

    def named(self, thing: Found, fine: Tensor) -> Found:
        """The thing, by its new name if the head is surer of one than the judge of another; fine [80, h, w]."""
        column, row = (int(place / STRIDE) for place in thing.centre)
        chances = self.head(fine[:, row, column]).sigmoid().tolist()
        own = [
            (name, chance) for name, chance in zip(NEW, chances, strict=True) if XL_CONCEPTS[name].kind == thing.kind
        ]
        if not own:
            return thing
        name, chance = max(own, key=lambda pair: pair[1])
        known = max((one for _, one in thing.chances), default=0.0)
        every = (*thing.chances, *own)
        if chance <= 0.5 or chance <= known:
            return replace(thing, chances=every)
        return replace(thing, name=name, personal=True, mixed=False, chances=every)

    def style(self, image: Image.Image | np.ndarray) -> str | None:
        """Line art in warm colours is `lineart`, in cold ones `blueink`."""
        small = smaller(image)
        if self.lineart(small) <= 0.5:
            return None
        red, _, blue = np.asarray(small, dtype=np.float32).reshape(-1, 3).mean(axis=0)
        return "blueink" if blue > red else "lineart"


def smaller(image: Image.Image | np.ndarray) -> Image.Image:
    """The picture at the scale that the judge knows."""
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image.convert("RGB")
    size = (round(picture.width * SCALE), round(picture.height * SCALE))
    return picture.resize(size, Image.Resampling.LANCZOS)


def enlarged(thing: Found) -> Found:
    """The thing with its place in the picture's own pixels."""
    left, top, right, bottom = (side / SCALE for side in thing.box)
    x, y = (place / SCALE for place in thing.centre)
    return replace(thing, box=(left, top, right, bottom), centre=(x, y))


# -- training --------------------------------------------------------------------------------------------------------


def seen(
    net: JudgeNet, examples: Sequence[Example], generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """What the judge sees at the centres of all things [n, 80], their identities and classes int64 [n].

    generator: makes the pictures as imperfect as generated ones; None leaves them as they are.
    """
    features, identities, kinds = [], [], []
    for start in range(0, len(examples), CHUNK):
        part = list(examples[start : start + CHUNK])
        half = functional.avg_pool2d(to_batch(part), 2)
        with torch.no_grad():
            fine, _ = net.features(half if generator is None else augment(half, generator))
        for here, item in zip(fine, part, strict=True):
            places = np.minimum(item.centres / STRIDE, 128 // STRIDE - 1).astype(int)
            features.append(here[:, places[:, 1], places[:, 0]].T)
            identities.append(torch.from_numpy(item.identities))
            kinds.append(torch.from_numpy(item.kinds))
    return torch.cat(features), torch.cat(identities), torch.cat(kinds)


def drawn(count: int, seed: int) -> list[Example]:
    """Pictures of personal, plain and mixed things, the new looks among them."""
    rng = np.random.default_rng([seed, 77])
    return [example(rng, XL_CONCEPTS) for _ in tqdm(range(count), desc="pictures", mininterval=5)]


def wanted(identities: Tensor) -> Tensor:
    """float [n, new looks]: 1 for a thing's own look."""
    places = torch.tensor([tuple(XL_CONCEPTS).index(name) for name in NEW])
    return (identities[:, None] == places).float()


def train(head: nn.Sequential, features: Tensor, truth: Tensor, steps: int, seed: int) -> None:
    """Trains the head in place on what the judge saw."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(head.parameters(), lr=5e-3, weight_decay=1e-3)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1 - step / steps)
        chosen = torch.randint(0, len(features), (512,), generator=generator)
        loss = functional.binary_cross_entropy_with_logits(head(features[chosen]), truth[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def score(head: nn.Sequential, features: Tensor, identities: Tensor, kinds: Tensor) -> dict[str, float]:
    """Shares of new looks that are named, and of the other things of their classes that are called by their names."""
    said, truth = head(features).sigmoid() > 0.5, wanted(identities) > 0
    figures = {}
    for place, name in enumerate(NEW):
        own = kinds == CLASSES.index(XL_CONCEPTS[name].kind)
        others = own & ~truth[:, place]
        figures[f"{name} named"] = round(float(said[truth[:, place], place].float().mean()), 4)
        figures[f"others called {name}"] = round(float(said[others, place].float().mean()), 4)
    return figures


def train_head(out: Path, pictures: int = 4000, held_out: int = 1000, steps: int = 1500, seed: int = 1) -> None:
    """Trains the head, and writes its weights and its figures on held-out pictures (out and out.json)."""
    net, generator = Judge.load().net, torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    head = make_head()
    features, identities, _ = seen(net, drawn(pictures, seed), generator)
    train(head, features, wanted(identities), steps, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half().contiguous() for name, tensor in head.state_dict().items()}, out)
    fresh = drawn(held_out, seed + 100_000)
    report = {
        "pictures": pictures,
        "held_out_pictures": held_out,
        "held_out": score(head, *seen(net, fresh, None)),
        "held_out_augmented": score(head, *seen(net, fresh, generator)),
    }
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(report)


if __name__ == "__main__":
    from .xl_model import XL_WEIGHTS

    train_head(XL_WEIGHTS / HEAD)
