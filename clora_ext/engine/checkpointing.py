"""Activation checkpointing: a UNet's inner layers keep only their inputs and run again when a gradient asks."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clora_ext.batch.context import ForwardContext
from clora_ext.patching import Function, replaced


def inner_layers(unet: nn.Module) -> list[nn.Module]:
    """Residual blocks, self-attentions and feed-forwards: most of what a graph saves, and nothing that shows a map.

    ldm, sgm and diffusers name the latter two alike; their residual blocks are told by their parts.
    """
    return [layer for name, layer in unet.named_modules() if name.endswith(("attn1", ".ff")) or _is_residual(layer)]


def _is_residual(layer: nn.Module) -> bool:
    parts = ("in_layers", "out_layers", "emb_layers"), ("norm1", "conv1", "norm2", "conv2")
    return any(all(hasattr(layer, part) for part in wanted) for wanted in parts)


@contextmanager
def checkpointed(
    unet: nn.Module, context: ForwardContext, on_kept: Callable[[Tensor], Any] | None = None
) -> Generator[None, None, None]:
    """While inside, forwards that build a graph keep of the inner layers of ``unet`` only their inputs.

    Each of these is shown to ``on_kept``. The gradient may be asked for after this context: a layer that runs again
    does so as the rows that it ran as, so that hooks do the same (torch.utils.checkpoint, not reentrant).
    """
    with ExitStack() as stack:
        for layer in inner_layers(unet):
            stack.enter_context(replaced(layer, "forward", lambda original: _checkpoint(original, context, on_kept)))
        yield


def _checkpoint(original: Function, context: ForwardContext, on_kept: Callable[[Tensor], Any] | None) -> Function:
    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return original(*args, **kwargs)
        if on_kept is not None:
            for given in (*args, *kwargs.values()):
                if isinstance(given, Tensor):
                    on_kept(given)
        running, rows = context.forward, context.rows_now

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), context.replaying(running, rows)

        return checkpoint(original, *args, use_reentrant=False, preserve_rng_state=False, context_fn=contexts, **kwargs)

    return forward
