"""Activation checkpointing: a UNet's inner layers keep their inputs alone and run again when a gradient asks."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clora_ext.core.rows import Passage


def inner_layers(unet: nn.Module) -> list[nn.Module]:
    """Residual blocks, self-attentions and feed-forwards: most of what a graph saves, and nothing that shows a map.

    ldm, sgm and diffusers name the latter two alike; their residual blocks are told by their parts.
    """
    return [layer for name, layer in unet.named_modules() if name.endswith(("attn1", ".ff")) or _is_residual(layer)]


def _is_residual(layer: nn.Module) -> bool:
    parts = ("in_layers", "out_layers", "emb_layers"), ("norm1", "conv1", "norm2", "conv2")
    return any(all(hasattr(layer, part) for part in wanted) for wanted in parts)


@contextmanager
def recomputed(
    unet: nn.Module, passage: Passage, keep: Callable[[Tensor], Any] = lambda _: None
) -> Generator[None, None, None]:
    """While inside, forwards that build a graph keep of the inner layers of ``unet`` their inputs, shown to ``keep``.

    The gradient may be asked for after this context: a layer that runs again does so as the rows of ``passage`` that
    it ran as, so that hooks do the same (torch.utils.checkpoint, not reentrant).
    """
    with ExitStack() as stack:
        for layer in inner_layers(unet):
            stack.enter_context(_recomputed_one(layer, passage, keep))
        yield


@contextmanager
def _recomputed_one(layer: nn.Module, passage: Passage, keep: Callable[[Tensor], Any]) -> Generator[None, None, None]:
    original = layer.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return original(*args, **kwargs)
        for given in (*args, *kwargs.values()):
            if isinstance(given, Tensor):
                keep(given)
        window = passage.window

        def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
            return nullcontext(), passage.again(window)

        return checkpoint(original, *args, use_reentrant=False, preserve_rng_state=False, context_fn=contexts, **kwargs)

    own = layer.__dict__.get("forward")
    layer.forward = forward
    try:
        yield
    finally:
        if own is None:
            del layer.forward
        else:
            layer.forward = own
