"""One denoising step of CLoRA, as its authors' code does it, on given branches.

A branch is any function of the latent, so that the step can be checked with a small network in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import maths


@dataclass(frozen=True)
class BranchOutput:
    """What one branch gives for a latent [1, C, H, W]."""

    uncond: Tensor
    """Noise prediction without the prompt, [1, C, H, W]."""
    cond: Tensor
    """Noise prediction with the branch's prompt, [1, C, H, W]."""
    maps: Tensor
    """Cross-attention probability per token, [tokens, h, w]: mean over layers, heads and both halves of the batch."""


Branch = Callable[[Tensor], BranchOutput]


@dataclass(frozen=True)
class StepSettings:
    """The values of one step."""

    guidance: float = 7.5
    """Classifier-free guidance scale."""
    threshold: float = 0.3
    """Lambda: share of a map's maximum above which a pixel belongs to the mask."""
    temperature: float = 0.5
    """Tau of the contrastive loss."""
    alpha: float = 20.0
    """Length of a latent update."""
    rounds: int = 0
    """Latent updates at this step: 0 none, 1 the plain update, 1 + n with n extra rounds."""
    operations: tuple[str, ...] = ()
    """Morphology of the masks, see `maths.MORPHOLOGY`."""


@dataclass(frozen=True)
class StepResult:
    """What one step gives."""

    losses: tuple[float, ...]
    """Loss of each round, before its update."""
    gradients: tuple[Tensor, ...]
    """Gradient of each round's loss to the latent, [1, C, H, W]."""
    z: Tensor
    """Latent after all updates, [1, C, H, W]: the sampler steps from here."""
    masks: tuple[Tensor, ...]
    """Masks of all branches at the maps' resolution [h, w], base first."""
    maps: tuple[Tensor, ...]
    """Maps of all branches [tokens, h, w] which the masks were made of."""
    uncond: Tensor
    """Fused prediction without the prompt, [1, C, H, W]."""
    cond: Tensor
    """Fused prediction with the prompts, [1, C, H, W]."""
    prediction: Tensor
    """Guided prediction, [1, C, H, W]."""
    margin: float
    """Smallest distance of a masked token's value from its threshold."""


def run_step(
    z: Tensor,
    branches: Sequence[Branch],
    groups: Sequence[maths.Group],
    mask_tokens: Sequence[Sequence[int]],
    settings: StepSettings,
) -> StepResult:
    """One step: update the latent, make the masks, fuse the predictions.

    Predictions and masks come from the last forward, which was made before the last update (they are stale).
    """
    losses: list[float] = []
    gradients: list[Tensor] = []
    outputs: list[BranchOutput] = []
    for _ in range(settings.rounds):
        leaf = z.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            outputs = [branch(leaf) for branch in branches]
            loss = maths.contrastive_loss([output.maps for output in outputs], groups, settings.temperature)
        if loss is None:
            break
        (gradient,) = torch.autograd.grad(loss, leaf)
        losses.append(float(loss.detach()))
        gradients.append(gradient)
        z = maths.update_latent(z.detach(), gradient, settings.alpha)
    if not outputs:
        with torch.no_grad():
            outputs = [branch(z) for branch in branches]

    maps = [output.maps.detach() for output in outputs]
    masks = maths.branch_masks(maps, mask_tokens, settings.threshold, settings.operations)
    large = [maths.enlarge(mask, z.shape[-2], z.shape[-1]) for mask in masks]
    uncond = maths.fuse([output.uncond.detach() for output in outputs], large)
    cond = maths.fuse([output.cond.detach() for output in outputs], large)
    return StepResult(
        losses=tuple(losses),
        gradients=tuple(gradients),
        z=z.detach(),
        masks=tuple(masks),
        maps=tuple(maps),
        uncond=uncond,
        cond=cond,
        prediction=maths.guide(uncond, cond, settings.guidance),
        margin=maths.smallest_margin(maps, mask_tokens, settings.threshold),
    )
