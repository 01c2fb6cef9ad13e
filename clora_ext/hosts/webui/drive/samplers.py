"""What a sampler of the host does with the model, as far as composing has to know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

PlaceOfCall = Callable[[int, int], tuple[int, bool]]
"""From a call of the model and the number of steps to the step that the call belongs to, and whether it is a trial.

Calls and steps count from 0. A trial's latent is thrown away by the sampler.
"""


def every_call(call: int, _: int) -> tuple[int, bool]:
    """One call in a step."""
    return call, False


def two_calls(call: int, _: int) -> tuple[int, bool]:
    """A step's own call and a trial, as samplers of second order make them."""
    return call // 2, call % 2 == 1


def trial_once(call: int, _: int) -> tuple[int, bool]:
    """PLMS: a trial in the first step, then one call in a step."""
    return max(0, call - 1), call == 1


def in_threes(call: int, steps: int) -> tuple[int, bool]:
    """DPM fast: as many calls as steps, by three; the last ones are by two and one, or what is left
    (k_diffusion.sampling.DPMSolver.dpm_solver_fast).
    """
    by_three = 3 * (steps // 3 - (steps % 3 == 0))
    trial = call % 3 > 0 if call < by_three else call == by_three + 1
    return call, trial


class MovesBy(Enum):
    """How a moved latent reaches the sampler."""

    LATENT = "the latent that it gave to the model"
    SOLVER = "the solver's latent and predictions after the call; at the first call the latent"


@dataclass(frozen=True, slots=True)
class SamplerTraits:
    """How a sampler calls the model, and what becomes of a latent that is moved in between."""

    place: PlaceOfCall = every_call
    updates: bool = True
    """Whether moves of the latent make sense; where not, jobs are composed by masks only."""
    moves_by: MovesBy = MovesBy.LATENT
    history: int = 0
    """How many earlier predictions of the denoised latent the next step is made from: a move has to reach them too."""
    extrapolates: bool = False
    """Whether it goes on from a polynomial through four predictions, with factors up to 2.3.

    Guidance that counts a LoRA more than once makes them jump too far from step to step for that.
    """


TWO_CALLS = SamplerTraits(two_calls)
MASKS_ONLY = SamplerTraits(updates=False)
TRAITS: Mapping[str, SamplerTraits] = {
    "DPM++ 2M": SamplerTraits(history=1),
    "DPM++ SDE": TWO_CALLS,
    "DPM++ 2M SDE": SamplerTraits(history=1),
    "DPM++ 2M SDE Heun": SamplerTraits(history=1),
    "DPM++ 2S a": TWO_CALLS,
    "DPM++ 3M SDE": SamplerTraits(history=2),
    "Euler a": SamplerTraits(),
    "Euler": SamplerTraits(),
    "LMS": SamplerTraits(extrapolates=True),
    "Heun": TWO_CALLS,
    "DPM2": TWO_CALLS,
    "DPM2 a": TWO_CALLS,
    "DPM fast": SamplerTraits(in_threes),
    "DPM adaptive": MASKS_ONLY,
    "Restart": TWO_CALLS,
    "DDIM": SamplerTraits(),
    "DDIM CFG++": SamplerTraits(),
    "PLMS": SamplerTraits(trial_once, extrapolates=True),
    "UniPC": SamplerTraits(moves_by=MovesBy.SOLVER),
    "LCM": SamplerTraits(),
}
"""Every sampler of WebUI 1.10.1 by its name, measured on the host (docs/method.md, "Samplers")."""


def traits_of(name: str) -> SamplerTraits | None:
    """The traits of a sampler by the host's name; None for one of another extension, which nobody has measured."""
    return TRAITS.get(name)
