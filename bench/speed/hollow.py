"""What a step asks of Python and not of the processor: SD1.5's and SDXL's modules, so narrow that nothing is computed.

A GPU that is faster than Python waits for it, and then a step costs what it takes to call its operations. Those are
counted exactly; their seconds are told as ratios to a plain step, which runs in turn with it in the same process.
"""

import copy
import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from bench.speed.cases import machine
from bench.speed.meter import Operations
from bench.speed.models import HOLLOW, MODELS, Shape, loras, unet
from bench.speed.stage import CFG, TOKENS, Gate, StageDenoiser, latent_grid, moment, on_stage, place, timestep
from clora_ext.batch.conditions import Condition
from clora_ext.batch.plan import BranchMaps, TokenPlan
from clora_ext.batch.rows import Row
from clora_ext.core import maps
from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine.masks import ImageMasks
from clora_ext.engine.replay import ReplayGuard
from clora_ext.engine.report import JobReport
from clora_ext.engine.step import Composition
from clora_ext.settings.knobs import Settings
from clora_ext.settings.profiles import build_settings

OUT = Path("out/bench/hollow.json")
COUNTS = (2, 8)
RANK = 4
STEPS = 50
EARLY, LATE = 5, 40
"""Steps of 50: one at which the latent is updated and masks are open, and one behind the lock."""
WARM = 5
"""Steps that are run first, so that masks are locked and what is worked out once is there."""
TURNS = 12
Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of step: settings that make it at the step ``index``; ``locked`` says whether masks are locked by then."""

    settings: Settings
    index: int
    locked: bool = False


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a step is taken: on a UNet of ``shape``, for a batch of images; replayed with a ``guard``."""

    shape: Shape
    images: int = 1
    rank: int = RANK
    guard: ReplayGuard | None = None

    def latent(self, network: nn.Module) -> Tensor:
        """Noise of the batch, where the network is."""
        return torch.randn(self.images, 4, *latent_grid(self.shape.pixels), device=place(network))


KINDS = {
    "predict": Kind(build_settings("paper"), LATE),
    "masks": Kind(build_settings("balanced", "masks", lock_steady=0.0), EARLY),
    "balanced update": Kind(build_settings("balanced", memory=0.0, lock_steady=0.0), EARLY),
    "fast update": Kind(build_settings("fast", memory=0.0, lock_steady=0.0), EARLY),
    "late routed": Kind(build_settings("balanced"), LATE, locked=True),
}
"""Branches predicted beside each other; masks before the lock; updates in one group of rows; and after the lock."""


@dataclass(frozen=True, slots=True)
class HollowStep:
    """One kind of step with ``k`` LoRAs, against a plain step with none: ``seconds`` are a ratio, None if not timed."""

    model: str
    step: str
    k: int
    operations: int
    plain_operations: int
    without_views: int
    plain_without_views: int
    seconds: float | None = None


def measured(model: str, step: str, k: int, turns: int = 0) -> HollowStep:
    """Count one kind of step, and time it in ``turns``."""
    network = unet(HOLLOW[model].config, "cpu", torch.float32)
    stand = Stand(HOLLOW[model])
    bare = plain(copy.deepcopy(network), stand)
    with composed_step(network, model, KINDS[step], k, stand) as stepped:
        ours, theirs = counted(stepped), counted(bare)
        seconds = round(ratio(stepped, bare, turns), 2) if turns else None
    return HollowStep(model, step, k, ours.all, theirs.all, ours.without_views, theirs.without_views, seconds)


def plain(network: UNet2DConditionModel, stand: Stand) -> Step:
    """A step that composes nothing: two rows of the UNet for each image, and guidance."""
    gate, latent = Gate(network), stand.latent(network)
    text = torch.zeros(2 * stand.images, TOKENS, stand.shape.context, device=latent.device)
    time_now = moment(timestep(EARLY, STEPS), network)

    def step() -> Tensor:
        with torch.no_grad():
            cond, uncond = gate(torch.cat([latent] * 2), time_now, text).chunk(2)
            return uncond + (cond - uncond) * CFG

    return step


@dataclass(frozen=True, slots=True)
class ComposedStep:
    """A step that is called to be taken, and what is told of those that were."""

    take: Step
    report: JobReport

    def __call__(self) -> object:
        return self.take()


@contextmanager
def composed_step(
    network: UNet2DConditionModel, model: str, kind: Kind, k: int, stand: Stand
) -> Generator[ComposedStep, None, None]:
    """One kind of step of a composition of ``k`` LoRAs, which can be taken again and again, and is warm."""
    deltas = loras(network, k, stand.rank, as_kohya=True)
    settled = on_stage(network, kind.settings, deltas, stand.images, stand.guard)
    with given_masks(stand.shape.pixels / MODELS[model].pixels, k), settled as (composition, gate):
        step = _repeated(composition, gate, stand, kind.index)
        for _ in range(WARM):
            step()
        if kind.locked != composition.masks[0].locked:
            raise RuntimeError(f"the masks of step {kind.index} are not as its kind has them")
        yield ComposedStep(step, composition.report)


def _repeated(composition: Composition, gate: Gate, stand: Stand, index: int) -> Step:
    latent, number = stand.latent(gate.unet), timestep(index, STEPS)
    time_now = moment(number, gate.unet)
    point = SamplingPoint(index, STEPS, number / 999.0, index)
    text = Condition(torch.zeros(TOKENS, stand.shape.context, device=latent.device))

    class Denoiser(StageDenoiser):
        def conditions(self, rows: Sequence[Row]) -> Sequence[Condition]:
            """Encoded before the first step, as hosts do it."""
            return [text] * len(rows)

    def step() -> Tensor:
        with torch.no_grad():
            denoiser = Denoiser(gate, time_now, lambda calls: None, lambda rows: None)
            move = composition.before(point, latent, denoiser)
            fused = composition.after(composition.predict(move.predict_from))
            return fused.uncond + (fused.cond - fused.uncond) * CFG

    return step


@contextmanager
def given_masks(scale: float, k: int) -> Generator[None, None, None]:
    """While inside, maps are read at the level that the real model reads them at, of whose size the picture is so much
    of a side, and every subject has its cells.
    """
    read = ImageMasks.read

    def read_cells(self: ImageMasks, plan: TokenPlan, found: BranchMaps) -> None:
        read(self, plan, found)
        if self.regions is not None:
            self.regions = cells(self.regions, k)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(maps, "SHORT_SIDE", maps.SHORT_SIDE * scale))
        stack.enter_context(mock.patch.object(ImageMasks, "read", read_cells))
        yield


def cells(like: Tensor, k: int) -> Tensor:
    """Region masks in which base and subjects have as many cells each, one after the other."""
    height, width = like.shape[-2:]
    owners = torch.arange(height * width) * (k + 1) // (height * width)
    shares = nn.functional.one_hot(owners, k + 1).T
    return shares.view(k + 1, height, width).to(like)


def counted(step: Step) -> Operations:
    """The operations of a step."""
    with Operations() as operations:
        step()
    return operations


def ratio(step: Step, bare: Step, turns: int) -> float:
    """Seconds of a step against those of a plain one: the least of each, for other work only ever adds to them."""
    pairs = [(_seconds(bare), _seconds(step)) for _ in range(turns)]
    theirs, ours = (min(taken) for taken in zip(*pairs, strict=True))
    return ours / theirs


def _seconds(step: Step) -> float:
    """The process's own; other work on the machine does not count."""
    since = time.process_time()
    step()
    return time.process_time() - since


def hollow_steps(models: Iterable[str], turns: int, counts: Iterable[int] = COUNTS) -> Iterator[HollowStep]:
    """Every kind of step, with every number of LoRAs. oneDNN, whose set-up for a product hides the rest, is off."""
    with torch.backends.mkldnn.flags(enabled=False):
        for model in models:
            for k in counts:
                yield from (measured(model, step, k, turns) for step in KINDS)


def table(found: Iterable[dict[str, Any]]) -> str:
    """What was measured as a Markdown table."""
    rows = ["| model | step | LoRAs | operations | without views | against plain | seconds against plain |"]
    rows.append("|---" * 7 + "|")
    for one in found:
        share = one["without_views"] / one["plain_without_views"]
        seconds = "" if one["seconds"] is None else f"{one['seconds']:.2f} x"
        rows.append(
            f"| {one['model']} | {one['step']} | {one['k']} | {one['operations']} | {one['without_views']} "
            f"| {share:.2f} x | {seconds} |"
        )
    return "\n".join(rows)


def write(models: Iterable[str], turns: int, out: Path = OUT) -> None:
    """Measure all and write it to ``out``, and as a table beside it."""
    torch.set_num_threads(1)
    steps = [asdict(step) for step in hollow_steps([model for model in models if model in HOLLOW], turns)]
    out.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine("cpu"), "turns": turns, "steps": steps}
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(table(steps) + "\n", encoding="utf-8")
    print(table(steps), out, sep="\n")
