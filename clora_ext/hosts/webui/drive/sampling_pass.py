"""The passes of a job, which are runs of a sampler: the first one, and that of hires. fix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from modules import sd_samplers
from torch.nn import functional as F

from clora_ext.core.shapes import RegionMasks

LATENT_CELL = 8
"""Pixels of a latent's cell, along each side."""


@dataclass(frozen=True, slots=True)
class SamplingPass:
    """What the host encodes the texts of one batch with in one of its passes (modules/processing.py)."""

    hires: bool
    sampler: str
    prompts: Sequence[str]
    """As typed, with their tags."""
    negatives: Sequence[str]
    width: int
    height: int
    calls: int
    """Of the model in the first pass, by which prompts are edited."""
    hires_calls: int | None = None
    """Of the model in the second pass; None in the first."""


def first_pass(p: Any) -> SamplingPass:
    """That of job ``p`` in which the picture is drawn."""
    return SamplingPass(
        hires=False,
        sampler=str(p.sampler_name),
        prompts=_of_batch(p, p.all_prompts),
        negatives=p.negative_prompts,
        width=p.width,
        height=p.height,
        calls=_calls(p.sampler_name, p.steps),
    )


def hires_pass(p: Any) -> SamplingPass | None:
    """That of job ``p`` in which the picture is enlarged; None where there is none."""
    if not getattr(p, "enable_hr", False):
        return None
    sampler = p.hr_sampler_name or p.sampler_name
    return SamplingPass(
        hires=True,
        sampler=str(sampler),
        prompts=_of_batch(p, p.all_hr_prompts),
        negatives=p.hr_negative_prompts,
        width=p.hr_upscale_to_x,
        height=p.hr_upscale_to_y,
        calls=_calls(p.sampler_name, p.steps),
        hires_calls=_calls(sampler, p.hr_second_pass_steps or p.steps),
    )


def in_hires_pass(p: Any) -> bool:
    """Whether the host has begun the second pass of the batch."""
    return bool(getattr(p, "is_hr_pass", False))


def _of_batch(p: Any, prompts: Sequence[str]) -> Sequence[str]:
    start = p.iteration * p.batch_size
    return prompts[start : start + p.batch_size]


def _calls(sampler: str, steps: int) -> int:
    """The host's count of model calls; samplers of second order make two in a step."""
    config = sd_samplers.find_sampler_config(sampler)
    return int(config.total_steps(steps)) if config else steps


def enlarged(p: Any, masks: Sequence[RegionMasks]) -> list[RegionMasks]:
    """Region masks of the first pass for the second's latent, which the host may cut at its edges."""
    if not p.truncate_x and not p.truncate_y:
        return list(masks)
    height, width = p.hr_upscale_to_y // LATENT_CELL, p.hr_upscale_to_x // LATENT_CELL
    top, left = p.truncate_y // 2, p.truncate_x // 2
    bottom, right = height - (p.truncate_y + 1) // 2, width - (p.truncate_x + 1) // 2
    whole = [F.interpolate(mask[None], (height, width), mode="nearest")[0] for mask in masks]
    return [torch.clone(mask[:, top:bottom, left:right]) for mask in whole]
