"""The lessons of all LoRAs of a merge as rows of one UNet call: those of a step, and those that judge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clora_ext.merge.lessons import Lessons, units

BATCH = 16
"""Rows of a step."""
JUDGED = 16
"""Rows of each LoRA that judge."""


@dataclass(frozen=True, slots=True)
class LessonRows:
    """``z`` and what is to be ``predicted`` there, [row, 4, h, w]; ``timesteps`` [row]; ``unit`` [row], by which a
    mean square is divided; each row's text, or None. On the CPU."""

    z: Tensor
    predicted: Tensor
    timesteps: Tensor
    unit: Tensor
    texts: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.z)

    def split(self, rows: int) -> Iterator["LessonRows"]:
        """So many at a time."""
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            z, predicted = self.z[part], self.predicted[part]
            yield LessonRows(z, predicted, self.timesteps[part], self.unit[part], self.texts[part])


class AllLessons:
    """The ``taught`` of every LoRA, by whose ``texts``; ``missed`` as ``Pictures`` tell it."""

    def __init__(
        self, taught: Sequence[Lessons], texts: Sequence[Sequence[str | None]], missed: Sequence[Tensor]
    ) -> None:
        self._taught, self._texts = taught, texts
        self._units = [units(missed, each.timesteps) for each in taught]
        self._learned = [(~each.held).nonzero().flatten() for each in taught]
        self._held = [each.held.nonzero().flatten() for each in taught]

    def drawn(self, step: int) -> LessonRows:
        """The rows of a step, the same whenever it is asked for; LoRAs take turns."""
        chance = torch.Generator().manual_seed(step)
        places = []
        for row in range(BATCH):
            lora = (step * BATCH + row) % len(self._taught)
            learned = self._learned[lora]
            places.append((lora, int(learned[torch.randint(len(learned), (), generator=chance)])))
        return self._at(places)

    def judged(self) -> LessonRows:
        """Rows that nothing is learnt from."""
        chance = torch.Generator().manual_seed(0)
        places = []
        for lora, held in enumerate(self._held):
            some = held[torch.randperm(len(held), generator=chance)[:JUDGED]]
            places.extend([(lora, place) for place in some.tolist()])
        return self._at(places)

    def _at(self, places: Sequence[tuple[int, int]]) -> LessonRows:
        def of(name: str) -> Tensor:
            return torch.stack([getattr(self._taught[lora], name)[place] for lora, place in places])

        texts = [self._texts[lora][int(self._taught[lora].texts[place])] for lora, place in places]
        unit = torch.stack([self._units[lora][place] for lora, place in places])
        return LessonRows(of("z").float(), of("predicted").float(), of("timesteps"), unit, tuple(texts))
