"""What each LoRA of a merge predicts alone, for the merge to keep.

A LoRA draws pictures, with guidance. Then noise is added to finished pictures, its own and those of the others: for a
latent that looks like another's picture it is to be known by the text alone which LoRA is meant, as it is at the start
of every picture. That is the contrast.

Latents z are variance preserving, as the UNet is given them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from clora_ext.batch.conditions import Condition, stacked
from clora_ext.merge.features import FeatureTensors

LEVELS = 10
"""Of DDIM, of each picture: more pictures teach more than more steps do."""
GUIDANCE = 4.0
"""As people draw, so that lessons are of latents that a merged file will meet."""
OWN, OTHERS = 5, 11
"""How often noise is added to each of a LoRA's pictures, and to one of another in its place."""
COMPARED = 4
"""Pictures by which what LoRAs are for is measured."""
PLACES = 2**15
"""Of latents, that are predicted in one call."""
UNITS = LEVELS + OWN + OTHERS
"""Of work, of one LoRA's lessons."""


@runtime_checkable
class Teaching(Protocol):
    """A model as a LoRA draws with it."""

    device: torch.device

    @property
    def alphas_cumprod(self) -> Tensor:
        """[1000]."""
        ...

    @property
    def predicts_velocity(self) -> bool:
        """Whether the UNet predicts v, and not noise."""
        ...

    def predict(self, z: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The UNet's output for z [row, 4, h, w] at timesteps [row], float32."""
        ...


@dataclass(frozen=True, slots=True)
class Lessons:
    """Rows of one LoRA: ``z`` and what it ``predicted`` there, [row, 4, h, w], float16; ``timesteps`` and ``texts``
    [row], which text by its number, the last of them being none; ``held`` [row], whether a row only judges.
    """

    z: Tensor
    predicted: Tensor
    timesteps: Tensor
    texts: Tensor
    held: Tensor

    def tensors(self) -> FeatureTensors:
        """By name."""
        return {name: getattr(self, name) for name in Lessons.__slots__}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Lessons":
        """What ``tensors`` gave, among others."""
        return cls(**{name: tensors[name] for name in Lessons.__slots__})

    def __add__(self, other: "Lessons") -> "Lessons":
        """The rows of both."""
        both = zip(self.tensors().items(), other.tensors().values(), strict=True)
        return Lessons(**{name: torch.cat([one, two]) for (name, one), two in both})


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a LoRA has drawn: the ``lessons`` on the way, and ``finished`` latents [picture, 4, h, w].

    ``missed`` [level] is the mean square of what the model without the LoRA predicts otherwise at the drawing's levels.
    """

    lessons: Lessons
    finished: Tensor
    missed: Tensor

    def tensors(self) -> FeatureTensors:
        """By name."""
        return {**self.lessons.tensors(), "finished": self.finished, "missed": self.missed}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Pictures":
        """What ``tensors`` gave."""
        return cls(Lessons.from_tensors(tensors), tensors["finished"], tensors["missed"])


def rows_of(pictures: int) -> int:
    """Lessons of so many pictures."""
    return pictures * (2 * LEVELS + OWN + OTHERS)


def timesteps_of(steps: int) -> list[int]:
    """DDIM's, from the noisiest on: 901, 801 ... 1 for 10."""
    return list(range(1, 1000, 1000 // steps))[::-1]


def to_be_noised(finished: Sequence[Tensor], lora: int, chance: torch.Generator) -> Iterator[Tensor]:
    """``OWN`` times the LoRA's own pictures, and ``OTHERS`` times one of some other LoRA in the place of each."""
    for _ in range(OWN):
        yield finished[lora]
    for _ in range(OTHERS):
        away = torch.randint(1, max(len(finished), 2), (len(finished[lora]),), generator=chance)
        others = ((lora + away) % len(finished)).tolist()
        yield torch.stack([finished[other][place] for place, other in enumerate(others)])


class Teacher:
    """Draws as one LoRA, whose texts have the ``conditions``, the last of them being that of no text.

    ``held``: the texts at the end of the others whose pictures only judge.
    """

    def __init__(self, model: Teaching, conditions: Sequence[Condition], held: int) -> None:
        self.model, self.conditions = model, list(conditions)
        self.pictures = torch.arange(len(conditions) - 1)
        self._held = self.pictures >= len(self.pictures) - held
        self._nothing = torch.full_like(self.pictures, len(self.pictures))
        self._alphas = model.alphas_cumprod.float().cpu()
        self._rows: list[tuple[Tensor, ...]] = []

    def drawn(self, noise: Tensor) -> Iterator[Tensor]:
        """The pictures at every level, and at last the finished ones; every prediction on the way becomes a lesson."""
        levels = timesteps_of(LEVELS)
        z = noise
        for now, after in zip(levels, [*levels[1:], 0], strict=True):
            yield z
            steps = torch.full_like(self.pictures, now)
            wanted, unwanted = self._taught(z, steps, self.pictures), self._taught(z, steps, self._nothing)
            z = self._moved(z, unwanted + GUIDANCE * (wanted - unwanted), now, after)
        yield z

    def add_noise(self, clean: Tensor, chance: torch.Generator) -> None:
        """Lessons of finished latents with new noise, at any timestep, more often at those where much is decided."""
        steps = (1.0 + 998.0 * torch.rand(len(clean), generator=chance).sqrt()).long()
        alphas = self._alphas[steps].view(-1, 1, 1, 1)
        noise = torch.randn(clean.shape, generator=chance)
        self._taught(alphas.sqrt() * clean + (1.0 - alphas).sqrt() * noise, steps, self.pictures)

    def lessons(self) -> Lessons:
        """All so far."""
        z, predicted, timesteps, texts, held = (torch.cat(parts) for parts in zip(*self._rows, strict=True))
        return Lessons(z.half(), predicted.half(), timesteps, texts, held)

    def missed(self, levels: Sequence[Tensor]) -> Tensor:
        """The mean square of what the model as it is now predicts otherwise for some pictures at each of the levels."""
        found = []
        for z, step, (_, taught, *_) in zip(levels, timesteps_of(LEVELS), self._rows[::2], strict=False):
            some = self.pictures[: len(z)]
            now = self.predicted(z, torch.full_like(some, step), some)
            found.append((now - taught[: len(z)]).square().mean())
        return torch.stack(found)

    def predicted(self, z: Tensor, timesteps: Tensor, texts: Tensor) -> Tensor:
        """What the model as it is now predicts, some rows at a time; on the CPU."""
        found = []
        at_once = max(PLACES // z[0, 0].numel(), 1)
        for rows in torch.arange(len(z)).split(at_once):
            condition = stacked([self.conditions[text] for text in texts[rows].tolist()])
            there = z[rows].to(self.model.device), timesteps[rows].to(self.model.device)
            found.append(self.model.predict(*there, condition).cpu())
        return torch.cat(found)

    def _taught(self, z: Tensor, timesteps: Tensor, texts: Tensor) -> Tensor:
        found = self.predicted(z, timesteps, texts)
        self._rows.append((z, found, timesteps, texts, self._held))
        return found

    def _moved(self, z: Tensor, output: Tensor, now: int, after: int) -> Tensor:
        """One step of DDIM (arXiv 2010.02502, equation 12 without noise)."""
        alpha, then = self._alphas[now], self._alphas[after]
        if self.model.predicts_velocity:
            clean = alpha.sqrt() * z - (1.0 - alpha).sqrt() * output
            noise = alpha.sqrt() * output + (1.0 - alpha).sqrt() * z
        else:
            noise = output
            clean = (z - (1.0 - alpha).sqrt() * noise) / alpha.sqrt()
        return then.sqrt() * clean + (1.0 - then).sqrt() * noise


def units(missed: Sequence[Tensor], timesteps: Tensor) -> Tensor:
    """The mean square of what LoRAs are for at ``timesteps`` [row], of what each has ``missed`` at the levels.

    Between levels it is on a line of its logarithm.
    """
    levels = torch.tensor(timesteps_of(LEVELS), dtype=torch.float64).flip(0)
    logs = torch.stack([each.double() for each in missed]).mean(0).clamp(min=1e-12).log().flip(0)
    place = torch.searchsorted(levels, timesteps.double()).clamp(1, len(levels) - 1)
    before, after = levels[place - 1], levels[place]
    share = ((timesteps - before) / (after - before)).clamp(0.0, 1.0)
    return torch.lerp(logs[place - 1], logs[place], share).exp().float()
