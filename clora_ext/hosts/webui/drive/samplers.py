"""What a sampler of the host does with the model, as far as composing has to know."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SamplerTraits:
    """How a sampler calls the model."""

    calls: int = 1
    """Of the model in a step; the first is on the step's own latent, the others on trial ones."""
    keeps_moves: bool = True
    """Whether a latent that is moved in place, at a call that is no trial, goes on from there."""

    @property
    def composes(self) -> bool:
        """Whether the latent can be updated at every call."""
        return self.calls == 1 and self.keeps_moves

    def step_of(self, call: int) -> int:
        """The step that a call of the model belongs to, both from 0."""
        return call // self.calls

    def is_trial(self, call: int) -> bool:
        """Whether the sampler throws that call's latent away."""
        return call % self.calls > 0


TRAITS: Mapping[str, SamplerTraits] = {
    "Euler": SamplerTraits(),
    "Euler a": SamplerTraits(),
    "DPM++ 2M": SamplerTraits(),
    "DDIM": SamplerTraits(),
    "Heun": SamplerTraits(calls=2),
    "DPM2": SamplerTraits(calls=2),
    "DPM2 a": SamplerTraits(calls=2),
    "DPM++ 2S a": SamplerTraits(calls=2),
    "DPM++ SDE": SamplerTraits(calls=2),
    "Restart": SamplerTraits(calls=2),
    "UniPC": SamplerTraits(keeps_moves=False),
}
"""By the host's names, measured on the host (docs/method.md, "Samplers")."""

COMPOSING = tuple(name for name, traits in TRAITS.items() if traits.composes)


def traits_of(name: str) -> SamplerTraits | None:
    """The traits of a sampler by the host's name; None for one that nobody has measured."""
    return TRAITS.get(name)
