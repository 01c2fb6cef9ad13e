"""Drives the real engine on a UNet that may have no weights: the third host of the engine.

Behind the gate the UNet may live on the meta device: what goes in loses its values, what comes out is made up. All
the engine's own decisions see real tensors. Each subject has a region, a stripe of the picture, so that masks are as
large as subjects are and what works by the pixel has its share of pixels to work on.
"""

import math
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from clora_ext.attention import capture
from clora_ext.attention.probability import WantedColumns
from clora_ext.batch.conditions import Condition, of_images
from clora_ext.batch.packing import PixelGroups
from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import Row
from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine.branches import ActiveLora, Branches
from clora_ext.engine.device import free_bytes
from clora_ext.engine.graphs import GraphKeeps
from clora_ext.engine.memory import Memory
from clora_ext.engine.prepare import prepare
from clora_ext.engine.replay import ReplayGuard
from clora_ext.engine.report import StepReport
from clora_ext.engine.run import composing
from clora_ext.engine.step import Composition
from clora_ext.lora.deltas import LowRank
from clora_ext.lora.siblings import Siblings
from clora_ext.lora.stacks import Stack
from clora_ext.prompt import Binding, LoraFacts
from clora_ext.settings.knobs import Settings

Pixels = int | tuple[int, int]
"""A picture's size: a side's, or width and height."""
TOKENS = 77
CFG = 7.5
BLOCKS = ("down_blocks", "mid_block", "up_blocks")


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, real: Tensor, like: Tensor) -> Tensor:
        ctx.like = real
        return real.to(like.device, like.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if gradient.device.type == "meta":
            return torch.full_like(ctx.like, 1e-3), None
        return gradient.to(ctx.like), None


class _Show(torch.autograd.Function):
    """Shows ``made`` in the place of ``found``; the gradient goes to ``found``."""

    @staticmethod
    def forward(ctx: Any, found: Tensor, made: Tensor) -> Tensor:
        ctx.to = found.device, found.dtype
        return made

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.to(*ctx.to), None


def place(network: nn.Module) -> torch.device:
    """Where ``network`` is now. Its own property of that name walks through all its layers every time."""
    return network.conv_in.weight.device


class Gate(nn.Module):
    """A UNet whose inputs and outputs are real where it need not be."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def __getattr__(self, name: str) -> Any:
        """Its blocks are the UNet's, by whose names cross-attention is found."""
        return getattr(self.unet, name) if name in BLOCKS else super().__getattr__(name)

    @property
    def device(self) -> torch.device:
        """Where the engine computes."""
        return torch.device("cpu") if place(self.unet).type == "meta" else place(self.unet)

    def forward(self, latent: Tensor, time: int | Tensor, context: Tensor) -> Tensor:
        like = self.unet.conv_in.weight
        extra = {}
        if self.unet.config.addition_embed_type == "text_time":
            config = self.unet.config
            size = like.new_zeros(len(latent), 6)
            width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            pooled = like.new_zeros(len(latent), width)
            extra = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": size}}
        sample = _Enter.apply(latent, like)
        out = self.unet(sample, time, encoder_hidden_states=context.to(like.dtype), **extra).sample
        return torch.zeros_like(latent) if out.device.type == "meta" else out.to(latent.dtype)


@contextmanager
def regions(concepts: int, network: nn.Module) -> Generator[None, None, None]:
    """While inside, the map of a subject's token is high on the subject's own stripe, a quarter as high elsewhere.

    What routed rows are made of stands where ``network`` is, which may change where it is a meta device at times.
    """
    measured = capture.token_maps
    shares, groups = RegionPyramid.lora_shares, RegionPyramid.pixel_groups

    def placed_shares(self: RegionPyramid, *args: Any) -> Tensor:
        return shares(self, *args).to(place(network))

    def placed_groups(self: RegionPyramid, *args: Any, **kwargs: Any) -> PixelGroups | None:
        return _moved(groups(self, *args, **kwargs), place(network))

    @cache
    def stripes(columns: tuple[tuple[int, ...], ...], pixels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        height = next(side for side in range(math.isqrt(pixels), 0, -1) if pixels % side == 0)  # nearest to a square
        width = pixels // height
        stripe = torch.arange(width) * (concepts + 1) // width
        made = torch.full((len(columns), max(map(len, columns)), height, width), 0.25)
        for row, wanted in enumerate(columns):
            for index, column in enumerate(wanted):
                made[row, index, :, stripe == (column + 1) // 2] = 1.0
        made[..., 0, 0] = 0.0
        return made.flatten(-2).to(device, dtype)

    def shown(query: Tensor, key: Tensor, heads: int, scale: float, wanted: WantedColumns) -> Tensor:
        found = measured(query, key, heads, scale, wanted)
        device = torch.device("cpu") if found.device.type == "meta" else found.device
        return _Show.apply(found, stripes(wanted.columns, found.shape[-1], device, found.dtype))

    factors, joined = Stack.factors_of, Siblings.factors

    def placed_factors(self: Stack, product: Any, output: Tensor) -> tuple[Tensor, ...]:
        like = self.down if output.device.type == "meta" else output  # values are still needed where they are
        return tuple(part.to(output) for part in factors(self, product, like))

    def placed_siblings(self: Siblings, output: Tensor) -> Tensor:
        like = self.stacks[0].down if output.device.type == "meta" else output
        return joined(self, like).to(output)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(capture, "token_maps", shown))
        if place(network).type != "cuda":
            stack.enter_context(mock.patch.object(Stack, "factors_of", placed_factors))
            stack.enter_context(mock.patch.object(Siblings, "factors", placed_siblings))
            stack.enter_context(mock.patch.object(RegionPyramid, "lora_shares", placed_shares))
            stack.enter_context(mock.patch.object(RegionPyramid, "pixel_groups", placed_groups))
        yield


def _moved(groups: PixelGroups | None, device: torch.device) -> PixelGroups | None:
    if groups is None:
        return None
    places = tuple((at.to(device), share.to(device)) for at, share in groups.places)
    base = None if groups.base is None else groups.base.to(device)
    return replace(groups, index=groups.index.to(device), places=places, base=base)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the UNet: its rows, whether it built a graph, whether it stopped doing so, and was cut short."""

    rows: tuple[Row, ...]
    gradient: bool
    detached: bool
    cut: bool


Mark = Callable[[Sequence[Call]], None]
"""Called when a step begins, between its UNet calls and when it ends, with the calls that the step has made."""

Enter = Callable[[Sequence[Row]], None]
"""Called with the rows of every UNet call right before it."""


class StageHost:
    """Meets the engine's port; every text is nothing, and a word's column tells its subject."""

    adds_everywhere = False

    def __init__(self, gate: Gate, loras: Mapping[str, Mapping[nn.Module, LowRank]]) -> None:
        self.unet = gate
        self.loras = loras
        self.device = place(gate.unet)

    def facts(self, lora: str) -> LoraFacts:
        """Nothing but the name."""
        return LoraFacts(lora)

    def text_forms(self, text: str) -> Sequence[tuple[int, str]]:
        """Texts are not edited."""
        return [(sys.maxsize, text)]

    def columns(self, text: str, form: str, spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """``trigger3`` has column 5 and ``subject3`` 6, in every branch."""
        found: list[int] = []
        for start, stop in spans:
            word = text[start:stop]
            number = int(word.removeprefix("trigger").removeprefix("subject"))
            found.append(2 * number - word.startswith("trigger"))
        return tuple(found)

    def encode(self, branches: Sequence[Branches]) -> "NoTexts":
        """Nothing to encode."""
        return NoTexts()

    def deltas(self, loras: Sequence[ActiveLora]) -> Mapping[str, Mapping[nn.Module, LowRank]]:
        """As they were given."""
        return {lora.key: self.loras[lora.name] for lora in loras}

    def check_interrupt(self) -> None:
        """Nobody interrupts."""

    def show_progress(self, step: StepReport) -> None:
        """Nobody looks."""

    def free_bytes(self) -> float | None:
        """As torch tells."""
        return free_bytes(self.device)


class NoTexts:
    """The same for every row."""

    def at(self, rows: Sequence[Row], call: int) -> Mapping[Row, Condition]:
        """Nothing of a row's own."""
        return {}


class StageDenoiser:
    """Meets the engine's port at one timestep and keeps the calls."""

    def __init__(self, gate: Gate, time: int | Tensor, mark: Mark, enter: Enter) -> None:
        self.gate, self.time, self.mark, self.enter = gate, time, mark, enter
        self.calls: list[Call] = []

    def conditions(self, rows: Sequence[Row]) -> Sequence[Condition]:
        """Nothing, for every row."""
        width = self.gate.unet.config.cross_attention_dim
        tokens = torch.zeros(TOKENS, width, device=place(self.gate.unet))
        return [Condition(tokens)] * len(rows)

    def predict(self, latent: Tensor, rows: Sequence[Row], condition: Condition) -> Tensor:
        """The predicted noise of every row, by one call of the UNet."""
        if self.calls:
            self.mark(self.calls)
        self.enter(rows)
        gradient, cut = torch.is_grad_enabled(), True
        try:
            tokens = torch.zeros_like(condition.tokens, device=place(self.gate.unet))  # which may have moved since
            out = self.gate(of_images(latent, [row.image for row in rows]), self.time, tokens)
            cut = False
        finally:
            self.calls.append(Call(tuple(rows), gradient, gradient and not torch.is_grad_enabled(), cut))
        return out


@dataclass(frozen=True, slots=True)
class Visit:
    """One step that was run."""

    index: int
    calls: tuple[Call, ...]

    @property
    def rows(self) -> int:
        """UNet rows, gradient passes included."""
        return sum(len(call.rows) for call in self.calls)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many rows run at once, and what graphs keep, as an engine has found before."""

    graph_rows: int | None
    plain_rows: int | None
    keeps: GraphKeeps


class SettledMemory(Memory):
    """A memory whose bounds are known."""

    def __init__(self, before: Memory, bounds: Bounds) -> None:
        super().__init__(before.limit, before.graphs)
        self.graph_rows, self.plain_rows, self.keeps = bounds.graph_rows, bounds.plain_rows, bounds.keeps

    def fit(self, size: tuple[int, int], images: int) -> None:
        """Nothing is left to tell."""


@contextmanager
def on_stage(
    network: nn.Module,
    wanted: Settings,
    loras: Mapping[str, Mapping[nn.Module, LowRank]],
    images: int = 1,
    guard: ReplayGuard | None = None,
) -> Generator[tuple[Composition, Gate], None, None]:
    """A composition with a subject for each of ``loras``, on ``network`` behind its gate; replayed with a ``guard``."""
    numbers = [name.removeprefix("L") for name in loras]
    prompt = " ".join(f"trigger{number} subject{number}" for number in numbers)
    bindings = [Binding(f"L{number}", subject=f"subject{number}", trigger=f"trigger{number}") for number in numbers]
    host = StageHost(Gate(network), loras)
    prepared = prepare([prompt] * images, bindings, wanted, host)
    with composing(prepared, host, 1.0, guard=guard) as run:
        yield run.composition, host.unet


@contextmanager
def composed(
    network: nn.Module,
    wanted: Settings,
    loras: Mapping[str, Mapping[nn.Module, LowRank]],
    images: int = 1,
    bounds: Bounds | None = None,
    guard: ReplayGuard | None = None,
) -> Generator[tuple[Composition, Gate], None, None]:
    """The same where every subject has a stripe of the picture for its region, and the network may have no weights."""
    with on_stage(network, wanted, loras, images, guard) as (composition, gate), regions(len(loras), network):
        if bounds is not None:
            memory = SettledMemory(composition.tools.memory, bounds)
            composition.tools = replace(composition.tools, memory=memory)
        yield composition, gate


def compose(
    network: nn.Module,
    size: Pixels,
    wanted: Settings,
    loras: Mapping[str, Mapping[nn.Module, LowRank]],
    steps: int,
    visits: Iterable[int] | None = None,
    mark: Mark = lambda calls: None,
    enter: Enter = lambda rows: None,
    bounds: Bounds | None = None,
    images: int = 1,
    guard: ReplayGuard | None = None,
) -> list[Visit]:
    """Run the steps ``visits`` (all of them by default) of a schedule of ``steps``; ``size`` in pixels, of a batch.

    There is one subject for each LoRA. With ``bounds`` the engine does not find them out by itself.
    """
    done: list[Visit] = []
    with composed(network, wanted, loras, images, bounds, guard) as (composition, gate), torch.no_grad():
        latent = torch.randn(images, 4, *latent_grid(size), device=gate.device)
        for index in range(steps) if visits is None else visits:
            time = timestep(index, steps)
            denoiser = StageDenoiser(gate, moment(time, network), mark, enter)
            mark(denoiser.calls)
            move = composition.before(SamplingPoint(index, steps, time / 999.0, index), latent, denoiser)
            fused = composition.after(composition.predict(move.predict_from))
            guided = fused.uncond + (fused.cond - fused.uncond) * CFG
            latent = move.latent - 1e-3 * guided
            mark(denoiser.calls)
            done.append(Visit(index, tuple(denoiser.calls)))
    return done


def found_bounds(
    network: nn.Module, size: Pixels, wanted: Settings, loras: Mapping[str, Mapping[nn.Module, LowRank]], steps: int
) -> Bounds:
    """How many rows fit on ``network``, as the engine finds in its first step."""
    with composed(network, wanted, loras) as (composition, gate), torch.no_grad():
        latent = torch.randn(1, 4, *latent_grid(size), device=gate.device)
        time = timestep(0, steps)
        denoiser = StageDenoiser(gate, time, lambda calls: None, lambda rows: None)
        move = composition.before(SamplingPoint(0, steps, time / 999.0), latent, denoiser)
        composition.after(composition.predict(move.predict_from))
        memory = composition.tools.memory
    return Bounds(memory.graph_rows, memory.plain_rows, memory.keeps)


def timestep(index: int, steps: int) -> int:
    """Evenly spaced from 981 to 1: 50 steps are DDIM's 50."""
    return 981 - index * 980 // max(steps - 1, 1)


def moment(number: int, network: nn.Module) -> int | Tensor:
    """A timestep as the network is given it: on a GPU as a tensor, for a number is waited for there."""
    device = place(network)
    return torch.full((1,), number, device=device) if device.type == "cuda" else number


def latent_grid(size: Pixels) -> tuple[int, int]:
    """Height and width of the latent."""
    width, height = (size, size) if isinstance(size, int) else size
    return height // 8, width // 8
