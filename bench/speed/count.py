"""Counts a picture's FLOPs, UNet rows and peak memory without computing anything.

A scout, cross-attention and little else, runs all steps and so finds which kinds of UNet calls there are. Each
kind is then metered on the true shape, on the meta device in half precision.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from bench.speed.cases import STEPS, Case, effective
from bench.speed.meter import Meter, meta_as_gpu
from bench.speed.models import MODELS, Scout, loras, unet
from bench.speed.stage import Bounds, Call, Pixels, Visit, compose, found_bounds
from clora_ext.lora.deltas import LowRank
from clora_ext.settings.knobs import Settings
from clora_ext.settings.profiles import build_settings

BEFORE = 3
"""Steps that are run before a kind's first one, so that the engine is in the state that leads to it."""


@dataclass(frozen=True, slots=True)
class Count:
    """One picture: FLOPs and rows of the UNet, and the most bytes alive beside the UNet's weights."""

    flops: int
    rows: int
    peak: int


@cache
def _network(model: str) -> UNet2DConditionModel:
    return unet(MODELS[model].config, "meta", torch.float16)


@cache
def _scout(model: str) -> Scout:
    return Scout(MODELS[model])


def schedule(
    model: str, size: Pixels, wanted: Settings, concepts: int, steps: int, bounds: Bounds | None = None
) -> list[Visit]:
    """Every step of a run, by the engine's own decisions."""
    key = (model, size, wanted, concepts, steps, bounds)
    if key not in _SCHEDULES:
        with meta_as_gpu():
            no_loras = {f"L{k}": {} for k in range(1, concepts + 1)}
            _SCHEDULES[key] = compose(_scout(model), size, wanted, no_loras, steps, bounds=bounds)
    return _SCHEDULES[key]


_SCHEDULES: dict[tuple, list[Visit]] = {}


def visits_for(visits: Iterable[Visit]) -> tuple[int, ...]:
    """The steps to run so that every kind of call comes about once."""
    first: dict[Call, int] = {}
    for visit in visits:
        for call in visit.calls:
            first.setdefault(call, visit.index)
    return tuple(sorted({step for index in first.values() for step in range(max(index - BEFORE, 0), index + 1)}))


def often(visits: Iterable[Visit]) -> Counter[Call]:
    """How many calls of each kind a run makes."""
    return Counter(call for visit in visits for call in visit.calls)


def brief(wanted: Settings) -> Settings:
    """The same kinds of calls in fewer rounds."""
    return replace(wanted, rounds=min(wanted.rounds, 2))


def count(model: str, wanted: Settings, concepts: int, rank: int, steps: int = 50, size: Pixels | None = None) -> Count:
    """Count one picture of ``concepts`` LoRAs. Raises ``RuntimeError`` when a run does not follow its schedule."""
    if effective(wanted, concepts).method == "merge":
        return plain(model, steps, size)
    size = size or MODELS[model].pixels
    return _counted(model, wanted, concepts, rank, steps, size)


def _counted(model: str, wanted: Settings, concepts: int, rank: int, steps: int, size: Pixels) -> Count:
    bounds = settled(_network(model), size, wanted, concepts, rank)
    visits = schedule(model, size, wanted, concepts, steps, bounds)
    costs = _metered(model, size, brief(wanted), concepts, rank, steps, visits_for(visits), bounds)
    times = often(visits)
    if not set(times) <= set(costs):
        msg = f"“{wanted.profile}” on {model} with {concepts} LoRAs made other calls than its schedule says."
        raise RuntimeError(msg)
    return Count(
        flops=sum(costs[call][0] * number for call, number in times.items()),
        rows=sum(visit.rows for visit in visits),
        peak=max(costs[call][1] for call in times),
    )


def settled(network: nn.Module, size: Pixels, wanted: Settings, concepts: int, rank: int) -> Bounds:
    """How many rows fit on ``network``, as the engine finds in its first step."""
    with meta_as_gpu():
        return found_bounds(network, size, brief(wanted), loras(network, concepts, rank), STEPS)


def _metered(
    model: str,
    size: Pixels,
    wanted: Settings,
    concepts: int,
    rank: int,
    steps: int,
    indices: tuple[int, ...],
    bounds: Bounds,
) -> dict[Call, tuple[int, int]]:
    """FLOPs and peak bytes of one call of each kind, its backward included."""
    network = _network(model)
    deltas = loras(network, concepts, rank)
    costs: dict[Call, tuple[int, int]] = {}
    with meta_as_gpu(), Meter("meta", given(network, deltas)) as meter:

        def mark(calls: Sequence[Call]) -> None:
            if calls:
                costs[calls[-1]] = meter.flops, meter.peak
            meter.start()

        compose(network, size, wanted, deltas, steps, indices, mark, bounds=bounds)
    return costs


def given(network: nn.Module, deltas: Mapping[str, Mapping[nn.Module, LowRank]]) -> list[Tensor]:
    """What is there before a picture: weights, and LoRAs as their files have them, which hosts keep on the CPU."""
    files = [delta for changes in deltas.values() for delta in changes.values()]
    return [*network.parameters(), *(part for delta in files for part in (delta.down, delta.up))]


@cache
def plain(model: str, steps: int = 50, size: Pixels | None = None) -> Count:
    """A picture of the same model with the LoRAs merged into its weights: what a user would else wait for."""
    return _counted(model, build_settings(method="merge"), 0, 0, steps, size or MODELS[model].pixels)


def case(
    model: str, wanted: Settings, concepts: int, rank: int, steps: int, size: Pixels | None = None, device: str = "meta"
) -> Case:
    """A case of which nothing is known yet."""
    return Case(
        model=model,
        profile=wanted.profile,
        method=wanted.method,
        k=concepts,
        steps=steps,
        size=named(size or MODELS[model].pixels),
        rank=rank,
        device=device,
        dtype="float16",
        memory=wanted.memory,
    )


def named(size: Pixels) -> int | str:
    """A square's side, or width x height."""
    return size if isinstance(size, int) else "x".join(map(str, size))


def counted(
    model: str, wanted: Settings, concepts: int, rank: int, steps: int = 50, size: Pixels | None = None
) -> Case:
    """A case with all that needs no clock."""
    found, base = count(model, wanted, concepts, rank, steps, size), plain(model, steps, size)
    return replace(
        case(model, wanted, concepts, rank, steps, size),
        flops_ratio=round(found.flops / base.flops, 4),
        rows=found.rows,
        peak_bytes=found.peak,
        plain_peak_bytes=base.peak,
    )
