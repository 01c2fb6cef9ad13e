"""A prepared job on a host's UNet: hooks are on for the length of a run, and every one of them is off afterwards."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from clora_ext.attention.capture import Recorder, observed
from clora_ext.attention.levels import LayerFactors, attention_factors, layers_until
from clora_ext.attention.regional import regional_attention
from clora_ext.batch.context import ForwardContext
from clora_ext.batch.rows import BranchLoras
from clora_ext.core.guidance import uncond_share
from clora_ext.core.shapes import RegionMasks
from clora_ext.engine.gradient import GradientTools
from clora_ext.engine.graphs import GraphMemory
from clora_ext.engine.memory import Memory
from clora_ext.engine.own_masks import NO_OWN_MASKS, OwnMasks
from clora_ext.engine.port import Conditions, Host
from clora_ext.engine.prepare import Prepared, TokenPlans
from clora_ext.engine.replay import Replay, ReplayGuard
from clora_ext.engine.report import JobReport
from clora_ext.engine.step import Composition
from clora_ext.errors import HostError
from clora_ext.lora.routing import LayerDeltas, counting_calls, layer_deltas, loras_on_rows
from clora_ext.lora.siblings import self_attention_inputs
from clora_ext.settings.knobs import Settings, plain_values

HALF_LOSS_SCALE = 1024.0
"""Static loss scale for half precision: gradients of attention maps are around 1e-4."""


Encoded = TypeVar("Encoded", bound=Conditions)


@dataclass(frozen=True, slots=True)
class Run(Generic[Encoded]):
    """A composition with its encoded texts; a host calls its two halves around every forward of its own."""

    composition: Composition
    conditions: Encoded


@contextmanager
def composing(
    prepared: Prepared,
    host: Host[Encoded],
    cfg_scale: float,
    masks: Sequence[RegionMasks] = (),
    own: OwnMasks = NO_OWN_MASKS,
    guard: ReplayGuard | None = None,
) -> Generator[Run[Encoded], None, None]:
    """While inside, the job can be run on the host's UNet; ``cfg_scale`` is the scale of its guidance.

    ``masks`` are region masks of every image that are locked from the start; none to find them, with the help of
    somebody's ``own`` masks on the latent's grid. With a ``guard`` late steps are replayed where it lets them.

    Raises ``CLoRAError`` for a subject that is not in the encoded texts, a LoRA that does not fit, and a model whose
    attention can not be observed.
    """
    plans = TokenPlans(prepared, host)
    conditions = host.encode(prepared.branches)
    deltas = host.deltas(prepared.unet_loras)
    unet = host.unet
    layers = layer_deltas(deltas, host.device, _precision(unet), self_attention_inputs(unet))
    composition = compose(prepared, host, plans, layers, cfg_scale, masks, own)
    if guard is not None:
        composition.replay = Replay(unet, composition.context, composition.tools.memory, guard)
    with installed(composition, unet, layers):
        yield Run(composition, conditions)


def compose(
    prepared: Prepared,
    host: Host[Any],
    plans: TokenPlans,
    layers: Sequence[LayerDeltas],
    cfg_scale: float,
    masks: Sequence[RegionMasks] = (),
    own: OwnMasks = NO_OWN_MASKS,
) -> Composition:
    """The composition of a prepared job whose LoRAs change ``layers``; it can run once it is ``installed``."""
    settings, unet = prepared.settings, host.unet
    context = ForwardContext(_branch_loras(prepared, cfg_scale))
    taken = sum(layer.nbytes for layer in layers)
    memory = Memory(settings.memory, GraphMemory(unet, context), taken, host.free_bytes, settings.memory_share)
    recorder = Recorder(context, layers_until(unet, settings.gradient_until))
    tools = GradientTools(host, settings, recorder, memory, _loss_scale(unet))
    known, report = [found.to(host.device) for found in masks], _report(settings, prepared.subjects)
    return Composition(tools, plans, _attention(unet), report, known, own.to(host.device))


def _branch_loras(prepared: Prepared, cfg_scale: float) -> BranchLoras:
    settings = prepared.settings
    keys = {branch: [lora.key for lora in loras] for branch, loras in prepared.branches[0].unet_loras.items()}
    share = uncond_share(settings.emphasis, cfg_scale) if settings.masked else 1.0
    return BranchLoras(keys, share)


def _precision(unet: nn.Module) -> torch.dtype:
    """What the UNet computes in: a host may store most weights in 8 bits, but not those of norms."""
    return next(parameter.dtype for parameter in unet.parameters() if parameter.element_size() > 1)


def _loss_scale(unet: nn.Module) -> float:
    half = _precision(unet) in (torch.float16, torch.bfloat16) or torch.is_autocast_enabled()
    return HALF_LOSS_SCALE if half else 1.0


def _attention(unet: nn.Module) -> LayerFactors:
    """Cross-attention layers with their factors. Raises ``HostError`` where none can be observed."""
    found = attention_factors(unet)
    if not found:
        msg = "This model has no cross-attention layers that can be observed; only Stable Diffusion UNets compose."
        raise HostError(msg)
    return found


def _report(settings: Settings, subjects: tuple[str, ...]) -> JobReport:
    told = {"profile": settings.profile, "method": settings.method, **plain_values(settings)}
    return JobReport(told, subjects)


@contextmanager
def installed(composition: Composition, unet: nn.Module, layers: Sequence[LayerDeltas]) -> Generator[None, None, None]:
    """While inside, the composition's hooks are on ``unet``."""
    context = composition.context
    attention = list(composition.attention)
    within: set[nn.Module] = set()  # pixels are told apart by these layers' calls, not by their deltas
    for layer in attention:
        within.update(layer.modules())
    with ExitStack() as stack:
        stack.enter_context(frozen(unet))
        stack.enter_context(counting_calls(unet, context))
        stack.enter_context(loras_on_rows(layers, context, within))
        stack.enter_context(observed(attention, composition.tools.recorder))  # after the deltas: hooks run in order
        stack.enter_context(regional_attention(attention, composition.tools.recorder))
        if composition.replay is not None:
            stack.enter_context(composition.replay.on())
        stack.callback(composition.abandon)
        yield


@contextmanager
def frozen(model: nn.Module) -> Generator[None, None, None]:
    """While inside, no parameter of ``model`` asks for a gradient: graphs reach only the latent."""
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)  # noqa: FBT003 - torch's signature
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)  # noqa: FBT003
