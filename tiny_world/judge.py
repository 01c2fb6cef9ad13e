"""The judge: a small detector that names every subject in a picture of the tiny world, and verdicts built on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from .concepts import CONCEPTS, XL_CONCEPTS
from .scene import CLASSES

WEIGHTS: Path = Path(__file__).resolve().parent / "weights" / "judge.safetensors"
CONCEPT_NAMES: tuple[str, ...] = tuple(CONCEPTS)
IDENTITIES: tuple[str, ...] = (*CLASSES, *CONCEPT_NAMES)
STRIDE: int = 8
_LOWEST_SCORE = 0.3
_LARGEST_OVERLAP = 0.45

PRESENT = "present"
ABSENT = "absent"
DUPLICATED = "duplicated"
WRONG = "wrong identity"
MIXED = "mixed"


@dataclass(frozen=True)
class Found:
    """One subject in a picture.

    name: the personal concept, else the class. kind: the class. personal: whether it is a personal concept. mixed: a
    generic thing with marks that no plain generic thing has (another subject's collar, bib, stripes, ...). score: of
    the class, 0 to 1. box: left, top, right, bottom in pixels. centre: x, y in pixels. chances: probability of each
    concept of its class.
    """

    name: str
    kind: str
    personal: bool
    mixed: bool
    score: float
    box: tuple[float, float, float, float]
    centre: tuple[float, float]
    chances: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Maps:
    """What the network says of a batch, on a grid of STRIDE pixels.

    heat: [b, 6, h, w], logits that a thing of each class has its centre there. identity: [b, 9, h, w], logits of the
    eight concepts and of mixed marks. box: [b, 4, h, w], distances from the cell's centre to left, top, right and
    bottom in units of 32 pixels. style: [b], logit of line art.
    """

    heat: Tensor
    identity: Tensor
    box: Tensor
    style: Tensor


def convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation and SiLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs), nn.SiLU(inplace=True)
    )


class Residual(nn.Module):
    """Two convolutions around which the input passes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class JudgeNet(nn.Module):
    """A fully convolutional detector by centres (after CenterNet, arXiv 1904.07850) on the picture at half its size."""

    def __init__(self) -> None:
        super().__init__()
        self.quarter = convolution(3, 32, stride=2)
        self.eighth = nn.Sequential(convolution(32, 64, stride=2), Residual(64))
        self.sixteenth = nn.Sequential(convolution(64, 96, stride=2), Residual(96))
        self.back = convolution(96, 64, 1)
        self.join = convolution(64, 80)
        self.head = nn.Conv2d(80, len(CLASSES) + len(CONCEPT_NAMES) + 1 + 4, 1)
        self.style = nn.Linear(96, 1)
        with torch.no_grad():
            self.head.bias[: len(CLASSES)] = -4.0

    def forward(self, pixels: Tensor) -> Maps:
        """pixels: float [b, 3, h, w] in 0..1, h and w multiples of 16."""
        return self.from_half(functional.avg_pool2d(pixels, 2))

    def from_half(self, half: Tensor) -> Maps:
        """The maps of pictures already at half their size: float [b, 3, h / 2, w / 2] in 0..1."""
        fine, coarse = self.features(half)
        return self.read(fine, coarse)

    def features(self, half: Tensor) -> tuple[Tensor, Tensor]:
        """What is seen in pictures at half their size: float [b, 80, h, w] by STRIDE, [b, 96, h / 2, w / 2] coarser."""
        fine = self.eighth(self.quarter(half * 2 - 1))
        coarse = self.sixteenth(fine)
        fine = self.join(fine + functional.interpolate(self.back(coarse), scale_factor=2, mode="nearest"))
        return fine, coarse

    def read(self, fine: Tensor, coarse: Tensor) -> Maps:
        """The maps of what `features` saw."""
        heat, identity, box = self.head(fine).float().split([len(CLASSES), len(CONCEPT_NAMES) + 1, 4], dim=1)
        return Maps(heat, identity, box, self.style(coarse.mean(dim=(2, 3))).float()[:, 0])


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def decode(heat: Tensor, identity: Tensor, box: Tensor) -> list[Found]:
    """The subjects in one picture's maps (without the batch dimension), best first, after non-maximum suppression."""
    scores = heat.sigmoid()
    best, kinds = scores.max(dim=0)
    peaks = (best == functional.max_pool2d(best[None], 3, 1, 1)[0]) & (best > _LOWEST_SCORE)
    candidates: list[Found] = []
    for row, column in peaks.nonzero().tolist():
        kind = CLASSES[int(kinds[row, column])]
        chances = identity[:, row, column].sigmoid().tolist()
        own = [(name, chances[i]) for i, name in enumerate(CONCEPT_NAMES) if CONCEPTS[name].kind == kind]
        name, chance = max(own, key=lambda pair: pair[1])
        personal = chance > 0.5
        x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
        left, top, right, bottom = (32 * box[:, row, column]).tolist()
        candidates.append(
            Found(
                name=name if personal else kind,
                kind=kind,
                personal=personal,
                mixed=not personal and chances[-1] > 0.5,
                score=float(best[row, column]),
                box=(x - left, y - top, x + right, y + bottom),
                centre=(x, y),
                chances=tuple(own),
            )
        )
    kept: list[Found] = []
    for candidate in sorted(candidates, key=lambda found: -found.score):
        if all(overlap(candidate.box, other.box) < _LARGEST_OVERLAP for other in kept):
            kept.append(candidate)
    return kept


def to_pixels(image: Image.Image | np.ndarray) -> Tensor:
    """A picture as float [1, 3, h, w] in 0..1, its last rows and columns repeated up to multiples of 16.

    Raises ValueError for an array that is not uint8 [h, w, 3].
    """
    array = np.array(image.convert("RGB")) if isinstance(image, Image.Image) else image
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"a picture must be uint8 [h, w, 3]; this one is {array.dtype} {list(array.shape)}")
    height, width = array.shape[:2]
    pixels = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None].float() / 255.0
    return functional.pad(pixels, (0, -width % 16, 0, -height % 16), mode="replicate")


class Judge:
    """Names the subjects of pictures at the tiny world's scale (things of about 30 to 70 pixels)."""

    def __init__(self, net: JudgeNet) -> None:
        self.net = net.eval()

    @classmethod
    def load(cls, path: str | Path = WEIGHTS) -> Judge:
        """Reads the weights; raises FileNotFoundError with what to run when there are none."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"there are no weights at {path}: run `python -m tiny_world.judge_train`")
        net = JudgeNet()
        tensors = load_file(str(path))
        net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
        return cls(net)

    def save(self, path: str | Path) -> None:
        """Writes the weights in half precision, without the counters of batch normalisation."""
        state = {k: v.half().contiguous() for k, v in self.net.state_dict().items() if not k.endswith("tracked")}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file(state, str(path))

    @torch.no_grad()
    def find(self, image: Image.Image | np.ndarray) -> list[Found]:
        """The subjects in a picture, best first."""
        maps = self.net(to_pixels(image))
        return decode(maps.heat[0], maps.identity[0], maps.box[0])

    @torch.no_grad()
    def lineart(self, image: Image.Image | np.ndarray) -> float:
        """Probability that the picture is in the line-art style."""
        return float(self.net(to_pixels(image)).style.sigmoid()[0])

    def style(self, image: Image.Image | np.ndarray) -> str | None:
        """The name of the picture's style, None for the plain one."""
        return "lineart" if self.lineart(image) > 0.5 else None


@dataclass(frozen=True)
class Verdict:
    """How a picture meets what was wanted.

    subjects: each wanted name with "present", "absent", "duplicated", "wrong identity" or "mixed". extra: names of
    further subjects of the wanted classes. right: exactly the wanted subjects, each as often as wanted, and no further
    one of their classes. lenient: every wanted class is there at least as often as wanted.
    """

    subjects: tuple[tuple[str, str], ...]
    extra: tuple[str, ...]
    right: bool
    lenient: bool


def kind_of(name: str) -> str:
    """The class of a concept or class name; raises ValueError for neither."""
    if name in XL_CONCEPTS:
        return XL_CONCEPTS[name].kind
    if name in CLASSES:
        return name
    raise ValueError(f"{name!r} is neither a concept nor a class: choose among {', '.join(IDENTITIES)}")


def verdict(found: Sequence[Found], wanted: Sequence[str]) -> Verdict:
    """Compares the subjects found with those wanted (concept or class names, repeated if wanted twice).

    A wanted class name asks for a plain generic thing. A wanted subject that is missing takes the place of a leftover
    subject of its class: "mixed" if that one has foreign marks, else "wrong identity"; "absent" when there is none.
    """
    kinds = [kind_of(name) for name in wanted]
    left = [f for f in found if f.kind in kinds]
    statuses: dict[int, str] = {}
    for place, name in enumerate(wanted):
        match = next((f for f in left if f.name == name and not f.mixed), None)
        if match is not None:
            statuses[place] = PRESENT
            left.remove(match)
    for place, kind in enumerate(kinds):
        if place not in statuses:
            other = next((f for f in left if f.kind == kind and f.mixed), None)
            other = other or next((f for f in left if f.kind == kind), None)
            statuses[place] = ABSENT if other is None else MIXED if other.mixed else WRONG
            if other is not None:
                left.remove(other)
    doubled = {f.name for f in left if not f.mixed}
    for place, name in enumerate(wanted):
        if statuses[place] == PRESENT and name in doubled:
            statuses[place] = DUPLICATED
    subjects = tuple((name, statuses[place]) for place, name in enumerate(wanted))
    counts, needed = Counter(f.kind for f in found), Counter(kinds)
    return Verdict(
        subjects=subjects,
        extra=tuple(f.name for f in left),
        right=not left and all(status == PRESENT for _, status in subjects),
        lenient=all(counts[kind] >= number for kind, number in needed.items()),
    )
