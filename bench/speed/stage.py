"""Drives the real engine on a UNet that may have no weights: the third host of the engine.

Behind the gate the UNet may live on the meta device: what goes in loses its values, what comes out is made up. All
the engine's own decisions see real tensors. Each subject has a region, a stripe of the picture, so that masks are as
large as subjects are and what works by the pixel has its share of pixels to work on.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from clora_ext.attention import capture
from clora_ext.core.concepts import Concept, Plan
from clora_ext.core.regions import Packed, Regions
from clora_ext.core.rows import Row
from clora_ext.core.schedule import Moment
from clora_ext.engine.memory import Memory
from clora_ext.engine.session import installed
from clora_ext.engine.step import Composition
from clora_ext.lora.deltas import LowRank
from clora_ext.lora.stacks import Stack
from clora_ext.settings import Settings

TOKENS = 77
CFG = 7.5


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

    @property
    def device(self) -> torch.device:
        """Where the engine computes."""
        return torch.device("cpu") if place(self.unet).type == "meta" else place(self.unet)

    def forward(self, latent: Tensor, time: int, context: Tensor) -> Tensor:
        like = self.unet.conv_in.weight
        extra = {}
        if self.unet.config.addition_embed_type == "text_time":
            size = like.new_zeros(len(latent), 6)
            pooled = like.new_zeros(len(latent), self.unet.config.projection_class_embeddings_input_dim - 6 * 256)
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
    shares, packed = Regions.shares, Regions.packed

    def placed_shares(self: Regions, *args: Any) -> Tensor:
        return shares(self, *args).to(place(network))

    def placed_packed(self: Regions, *args: Any) -> Packed | None:
        found, device = packed(self, *args), place(network)
        places = tuple((at.to(device), share.to(device)) for at, share in found.places) if found else ()
        return found and replace(found, index=found.index.to(device), places=places, base=found.base.to(device))

    @cache
    def stripes(columns: tuple[tuple[int, ...], ...], side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        stripe = torch.arange(side) * (concepts + 1) // side
        made = torch.full((len(columns), max(map(len, columns)), side, side), 0.25)
        for row, wanted in enumerate(columns):
            for index, column in enumerate(wanted):
                made[row, index, :, stripe == (column + 1) // 2] = 1.0
        made[..., 0, 0] = 0.0
        return made.flatten(-2).to(device, dtype)

    def shown(query: Tensor, key: Tensor, heads: int, scale: float, columns: Sequence[Sequence[int]]) -> Tensor:
        found = measured(query, key, heads, scale, columns)
        device = torch.device("cpu") if found.device.type == "meta" else found.device
        return _Show.apply(
            found, stripes(tuple(map(tuple, columns)), round(found.shape[-1] ** 0.5), device, found.dtype)
        )

    placed_factors = Stack._for

    def kept_factors(self: Stack, product: Any, output: Tensor) -> tuple[Tensor, Tensor]:
        factors, views = self._factors, self._views
        found = placed_factors(self, product, output)
        if output.device.type == "meta":  # they are still needed where their values are
            self._factors, self._views = factors, views
        return found

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(capture, "token_maps", shown))
        if place(network).type != "cuda":
            stack.enter_context(mock.patch.object(Stack, "_for", kept_factors))
            stack.enter_context(mock.patch.object(Regions, "shares", placed_shares))
            stack.enter_context(mock.patch.object(Regions, "packed", placed_packed))
        yield


def plan(concepts: int) -> Plan:
    """One-token subjects and triggers; concept c has columns 2c + 1 (trigger) and 2c + 2 in every branch."""
    return Plan(
        tuple(Concept(str(c), tuple((2 * c + 2,) for _ in range(concepts + 1)), (2 * c + 1,)) for c in range(concepts))
    )


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


class Host:
    """Meets the engine's port at one timestep and keeps the calls."""

    def __init__(self, gate: Gate, mark: Mark, enter: Enter) -> None:
        self.gate, self.mark, self.enter = gate, mark, enter
        self.time = 0
        self.calls: list[Call] = []

    def forward(self, latent: Tensor, rows: Sequence[Row]) -> Tensor:
        """The predicted noise of every row, by one call of the UNet."""
        if self.calls:
            self.mark(self.calls)
        self.enter(rows)
        gradient, cut = torch.is_grad_enabled(), True
        try:
            out = self.gate(latent[[row.image for row in rows]], self.time, self.texts(rows))
            cut = False
        finally:
            self.calls.append(Call(tuple(rows), gradient, gradient and not torch.is_grad_enabled(), cut))
        return out

    def texts(self, rows: Sequence[Row]) -> Tensor:
        """The conditions of the rows: nothing."""
        return torch.zeros(len(rows), TOKENS, self.gate.unet.config.cross_attention_dim, device=place(self.gate.unet))


@dataclass(frozen=True, slots=True)
class Visit:
    """One step that was run."""

    index: int
    calls: tuple[Call, ...]

    @property
    def rows(self) -> int:
        """UNet rows, gradient passes included."""
        return sum(len(call.rows) for call in self.calls)


def compose(
    network: nn.Module,
    size: int,
    wanted: Settings,
    deltas: Mapping[str, Mapping[nn.Module, LowRank]],
    steps: int,
    visits: Iterable[int] | None = None,
    mark: Mark = lambda calls: None,
    enter: Enter = lambda rows: None,
    memory: Memory | None = None,
    images: int = 1,
) -> list[Visit]:
    """Run the steps ``visits`` (all of them by default) of a schedule of ``steps``; ``size`` in pixels, of a batch.

    There is one subject for each LoRA of ``deltas``. ``memory`` takes the place of the engine's own.
    """
    concepts = len(deltas)
    worn = {0: (), **{number: (f"L{number}",) for number in range(1, concepts + 1)}}
    composition = Composition([plan(concepts)] * images, worn, wanted)
    if memory is not None:
        composition.memory = composition.updating.memory = memory
    host = Host(Gate(network), mark, enter)
    latent = torch.randn(images, 4, size // 8, size // 8, device=host.gate.device)
    done: list[Visit] = []
    with installed(composition, host.gate, deltas, place(network)), regions(concepts, network), torch.no_grad():
        for index in range(steps) if visits is None else visits:
            host.calls, host.time = [], timestep(index, steps)
            mark(host.calls)
            move = composition.before(Moment(index, steps, host.time / 999.0), latent, host)
            fused = composition.after(composition.predict(move.at))
            guided = fused.uncond + (fused.cond - fused.uncond) * CFG
            latent = move.latent - 1e-3 * guided
            mark(host.calls)
            done.append(Visit(index, tuple(host.calls)))
    return done


class Settled(Memory):
    """A memory that has been measured before."""

    def __init__(self, before: Memory) -> None:
        super().__init__(before.limit)
        self.graph_rows, self.plain_rows, self.kept = before.graph_rows, before.plain_rows, before.kept
        self._unet, self._passage = before._unet, before._passage

    def fit(self, size: tuple[int, int], images: int) -> None:
        """Nothing is left to tell."""


def timestep(index: int, steps: int) -> int:
    """Evenly spaced from 981 to 1: 50 steps are DDIM's 50."""
    return 981 - index * 980 // max(steps - 1, 1)
