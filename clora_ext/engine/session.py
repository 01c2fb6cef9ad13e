"""Puts a composition's hooks on a UNet for the length of a run and takes every one of them off again."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from clora_ext.attention.capture import cross_attentions, observed
from clora_ext.attention.dividing import divided
from clora_ext.core.rows import Row
from clora_ext.engine.step import Composition
from clora_ext.errors import HostError
from clora_ext.lora.deltas import Delta
from clora_ext.lora.routing import counted, placed, routed

HALF_LOSS_SCALE = 1024.0
"""Static loss scale for half precision: gradients of attention maps are around 1e-4."""


@contextmanager
def installed(
    composition: Composition,
    unet: nn.Module,
    deltas: Mapping[str, Mapping[nn.Module, Delta]],
    device: torch.device,
) -> Generator[Composition, None, None]:
    """While inside, ``composition`` can run on ``unet``. ``deltas`` has, per LoRA, its changes of layers;
    they are moved to ``device``, where the UNet computes, once.

    Raises ``HostError`` when the UNet has no cross-attention that can be observed.
    """
    layers = cross_attentions(unet)
    if not layers:
        msg = "This model has no cross-attention layers that can be observed; only Stable Diffusion UNets compose."
        raise HostError(msg)
    parameter = next(unet.parameters())
    half = parameter.dtype in (torch.float16, torch.bfloat16) or torch.is_autocast_enabled()
    composition.updating.loss_scale = HALF_LOSS_SCALE if half else 1.0
    changed = placed(deltas, device, parameter.dtype)
    composition.memory.place(unet, device, sum(layer.nbytes for layer in changed), composition.passage)

    def wears(row: Row) -> Mapping[str, float]:
        return composition.layout.wears(row)

    with ExitStack() as stack:
        stack.enter_context(frozen(unet))
        stack.enter_context(counted(unet, composition.passage))
        passage, attending = composition.passage, list(layers.values())
        within = {part for layer in attending for part in layer.modules()}  # their pixels are divided, not their deltas
        stack.enter_context(routed(changed, passage, wears, lambda: composition.regions, within))
        stack.enter_context(observed(attending, composition.recorder))  # after the deltas: hooks run in order
        stack.enter_context(divided(attending, passage, lambda: composition.regions, composition.texts))
        stack.callback(composition.abandon)
        yield composition


@contextmanager
def frozen(model: nn.Module) -> Generator[None, None, None]:
    """While inside, no parameter of ``model`` asks for a gradient: graphs reach the latent alone."""
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)  # noqa: FBT003 - torch's signature
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)  # noqa: FBT003
