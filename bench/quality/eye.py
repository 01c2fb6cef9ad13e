"""The eye: a small encoder of the tiny world's pictures, in the place of DINO and CLIP, that also outlines things.

It knows what the renderer can draw and nothing else; `python -m bench.quality.eye_train` makes it from pictures of the
first world. Those of a larger one it sees at that size, and another ink in the tones of the one that it knows.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from bench.quality.folder import EYE
from tiny_world.caption import known_words
from tiny_world.concepts import TRIGGERS
from tiny_world.judge import Residual, convolution
from tiny_world.pen import TONES
from tiny_world.scene import CLASSES

SIZE = 128
STRIDE = 4
WIDTH = 64
"""Numbers per embedding."""
KNOWN_INK = "lineart"
NEAR = 40
"""How far a pixel may be from a tone of an ink, in each channel of 255, to count as of that ink."""
AROUND = 9
"""Pixels of a side of the squares more than half of which an ink has to fill."""
WORDS: tuple[str, ...] = ("", *sorted(known_words() | TRIGGERS))
_LIGHT = np.array([0.299, 0.587, 0.114])
_NUMBER = {word: place for place, word in enumerate(WORDS)}


class EyeNet(nn.Module):
    """Convolutions down to 1/16 and back to 1/4 of a picture, with four heads."""

    def __init__(self) -> None:
        super().__init__()
        self.quarter = convolution(3, 32, stride=2)
        self.eighth = nn.Sequential(convolution(32, 48, stride=2), Residual(48))
        self.sixteenth = nn.Sequential(convolution(48, 96, stride=2), Residual(96))
        self.back = nn.Sequential(convolution(96 + 48, 48), Residual(48))
        self.outline = nn.Sequential(convolution(48 + 32, 32), nn.Conv2d(32, len(CLASSES) + 2, 1))
        self.look = nn.Linear(2 * 96, WIDTH)
        self.clip = nn.Linear(2 * 96, WIDTH)
        self.words = nn.EmbeddingBag(len(WORDS), WIDTH, mode="mean", padding_idx=0)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """pixels: float [n, 3, h, w] in 0..1, h and w multiples of 16.

        Look and CLIP embeddings [n, 64], of length 1, and logits [n, 8, h / 4, w / 4] of background, the six classes
        and line art.
        """
        quarter = self.quarter(functional.avg_pool2d(pixels, 2) * 2 - 1)
        eighth = self.eighth(quarter)
        deep = self.sixteenth(eighth)
        pooled = torch.cat([deep.mean(dim=(2, 3)), deep.amax(dim=(2, 3))], dim=1)
        joined = self.back(torch.cat([functional.interpolate(deep, scale_factor=2.0), eighth], dim=1))
        outline = self.outline(torch.cat([functional.interpolate(joined, scale_factor=2.0), quarter], dim=1))
        return functional.normalize(self.look(pooled)), functional.normalize(self.clip(pooled)), outline

    def read(self, texts: list[str]) -> Tensor:
        """CLIP embeddings [n, 64] of texts as bags of words, of length 1."""
        return functional.normalize(
            self.words(torch.tensor([_numbers(t) for t in texts], device=self.words.weight.device))
        )


def _numbers(text: str, longest: int = 24) -> list[int]:
    """Word numbers, padded with 0; words without a meaning here are left out."""
    words = "".join(sign if sign.isalpha() else " " for sign in text.lower()).split()
    known = [_NUMBER[word] for word in words if word in _NUMBER][:longest]
    return known + [0] * (longest - len(known))


class Eye:
    """The trained net, for uint8 pictures [n, h, w, 3] of a world whose own are squares of ``size`` pixels."""

    def __init__(self, net: EyeNet, size: int = SIZE) -> None:
        self.net, self.size = net.eval(), size

    @classmethod
    def load(cls, path: Path = EYE, size: int = SIZE) -> "Eye":
        """Raises ``FileNotFoundError`` with what to run when there are no weights."""
        if not path.is_file():
            msg = f"there are no weights at {path}: run `python -m bench.quality.eye_train`"
            raise FileNotFoundError(msg)
        net = EyeNet()
        net.load_state_dict({name: tensor.float() for name, tensor in load_file(str(path)).items()}, strict=False)
        return cls(net, size)

    def save(self, path: Path) -> None:
        """Half precision, without the counters of batch normalisation."""
        state = {k: v.half().contiguous() for k, v in self.net.state_dict().items() if not k.endswith("tracked")}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, str(path))

    @torch.no_grad()
    def see(self, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
        """Look and CLIP embeddings [n, 64] of pictures of any one size."""
        look, clip, _ = self.net(_pixels(pictures, (SIZE, SIZE)))
        return look, clip

    def outline(self, pictures: np.ndarray, ink: str = KNOWN_INK) -> tuple[np.ndarray, np.ndarray]:
        """Class of every pixel (0 background, then CLASSES) int [n, h, w], and probability of the ink [n, h, w]."""
        classes, known = self._outlined(pictures)
        if ink == KNOWN_INK:
            return classes, known
        near = of_ink(pictures, ink)
        _, drawn = self._outlined(in_known_ink(pictures, near, ink))
        around = functional.avg_pool2d(torch.from_numpy(near).float(), AROUND, stride=1, padding=AROUND // 2)
        return classes, drawn * (around > 0.5).numpy()

    @torch.no_grad()
    def _outlined(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = pictures.shape[1:3]
        seen = (-(-side * SIZE // (self.size * 16)) * 16 for side in (height, width))
        _, _, logits = self.net(_pixels(pictures, tuple(seen)))
        logits = functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        return logits[:, :-1].argmax(dim=1).numpy(), logits[:, -1].sigmoid().numpy()

    @torch.no_grad()
    def read(self, text: str) -> Tensor:
        """CLIP embedding [64] of a text without LoRA tags."""
        return self.net.read([text])[0]


def tones_of(ink: str) -> np.ndarray:
    """The three tones [3, 3] of an ink, from dark to light."""
    return np.array(TONES[ink][::-1], dtype=float)


def of_ink(pictures: np.ndarray, ink: str) -> np.ndarray:
    """Which pixels [...] of pictures uint8 [..., 3] have a tone of ``ink``: nearer than ``NEAR``, and than to the known
    ink's."""
    far = {
        name: np.stack([np.abs(pictures - tone).max(axis=-1) for tone in tones_of(name)]).min(axis=0)
        for name in (ink, KNOWN_INK)
    }
    return (far[ink] < NEAR) & (far[ink] < far[KNOWN_INK])


def in_known_ink(pictures: np.ndarray, which: np.ndarray, ink: str) -> np.ndarray:
    """The pictures, the pixels of ``which`` in the tones of the known ink that are as dark as those of ``ink``."""
    light = pictures @ _LIGHT
    own = tones_of(ink) @ _LIGHT
    painted = np.stack([np.interp(light, own, channel) for channel in tones_of(KNOWN_INK).T], axis=-1)
    return np.where(which[..., None], painted, pictures).astype(np.uint8)


def _pixels(pictures: np.ndarray, size: tuple[int, int]) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255.0
    if tuple(pixels.shape[2:]) == size:
        return pixels
    return functional.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
