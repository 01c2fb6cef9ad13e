"""Which LoRAs of a merge get in each other's way, told from their files alone.

On an input in the directions that a LoRA A reads, whichever of them, A does |A| and another LoRA B adds |B P|, with P
the projector on these directions and Frobenius norms. From factors both are traces of small matrices.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from clora_ext.merge.inputs import MergeLora, deltas_at, layers_of
from clora_ext.merge.layer import FactoredDelta, LayerDelta
from clora_ext.merge.lowrank import rank_of_energy, singular, truncated
from clora_ext.merge.run import Stage, stage_of

STAGES_TOLD: Mapping[Stage, str] = {
    Stage.TEXT: "text encoders",
    Stage.CROSS: "keys and values of texts",
    Stage.PICTURE: "other layers",
}
FIGHT, MIX = 0.5, 0.25
"""From which on two LoRAs fight, and from which on they mix."""
ENERGY = 0.99
"""The share of a LoRA's squares in a layer whose directions count as read."""
_DIRECTIONS = 48
"""Of a whole difference that are looked at, the largest ones nearly."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What one LoRA adds where another acts, over the layers of a stage that this one changes."""

    stage: Stage
    lora: str
    by: str
    size: float
    """As a share of what the LoRA does there itself, the root of the mean square."""

    @property
    def told(self) -> str:
        """In words."""
        how = "they fight" if self.size >= FIGHT else "they mix" if self.size >= MIX else "they get along"
        adds = f"{self.by} adds {self.size:.0%} of that where {self.lora} acts"
        return f"{STAGES_TOLD[self.stage]}: {adds}; {how}"


def disturbances(loras: Sequence[MergeLora]) -> tuple[Disturbance, ...]:
    """Of every LoRA by every other in every stage that both change, the largest first; each at its ratio."""
    numbers = {id(lora): number for number, lora in enumerate(loras)}
    squares = {stage: torch.zeros(len(loras), len(loras)) for stage in Stage}
    for layer, those in layers_of(loras).items():
        places = torch.tensor([numbers[id(lora)] for lora in those])
        squares[stage_of(layer)][places[:, None], places] += _squares(list(deltas_at(layer, those)))
    found = [each for stage, square in squares.items() for each in _at_stage(stage, square, loras)]
    return tuple(sorted(found, key=lambda each: -each.size))


def _at_stage(stage: Stage, squares: Tensor, loras: Sequence[MergeLora]) -> Iterator[Disturbance]:
    for one, other in permutations(range(len(loras)), 2):
        if squares[one, other]:
            size = float((squares[one, other] / squares[one, one]).sqrt())
            yield Disturbance(stage, loras[one].name, loras[other].name, size)


def _squares(deltas: Sequence[LayerDelta]) -> Tensor:
    """|B P|^2 / |A|^2 for every two deltas of a layer, [A, B]; 1 where both are one."""
    factors = [_few_directions(delta) for delta in deltas]
    grams = [factor.up.T @ factor.up for factor in factors]
    found = torch.zeros(len(factors), len(factors))
    for one, a in enumerate(factors):
        read: Tensor = torch.linalg.qr(a.down.T).Q
        for other, b in enumerate(factors):
            seen = b.down @ read
            found[one, other] = (grams[other] @ seen * seen).sum()
    return found / found.diagonal()[:, None].clamp(min=torch.finfo(found.dtype).tiny)


def _few_directions(delta: LayerDelta) -> FactoredDelta:
    """Without those that do next to nothing; of a whole difference the largest, by two turns of the power method."""
    if not isinstance(delta, FactoredDelta):
        probe = torch.randn(delta.matrix.shape[1], _DIRECTIONS, generator=torch.Generator().manual_seed(0))
        basis: Tensor = torch.linalg.qr(delta.matrix @ (delta.matrix.T @ (delta.matrix @ probe))).Q
        delta = FactoredDelta(delta.shape, basis, basis.T @ delta.matrix)
    return truncated(delta, rank_of_energy(singular(delta)[1], ENERGY))
