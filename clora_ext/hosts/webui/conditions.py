"""Text conditions of every branch, encoded by the host with the branch's LoRAs in its text encoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from modules import devices, prompt_parser, shared
from torch import Tensor

from clora_ext.core.rows import Half, Row
from clora_ext.engine.job import Wear
from clora_ext.hosts.webui.networks import wearing

Schedules = Mapping[tuple[int, Half], Any]
"""Per branch and half of guidance, what the host's prompt parser made for all images."""


def encode(
    texts: Mapping[int, Sequence[str]],
    negatives: Sequence[str],
    encoded: Mapping[int, Sequence[Wear]],
    nets: dict[str, Any],
    others: Sequence[Any],
    p: Any,
) -> Schedules:
    """Encode ``texts[b]`` (one per image) and the negative prompts for every branch b of ``texts``.

    ``others`` are networks that stay on everywhere. Steps are the host's count of model calls (processing.py).
    """
    found: dict[tuple[int, Half], Any] = {}
    steps, old = p.firstpass_steps, shared.opts.use_old_scheduling
    size = {"width": p.width, "height": p.height}
    with torch.no_grad(), devices.autocast():
        for branch, prompts in texts.items():
            with wearing(encoded[branch], nets, others):
                asked = prompt_parser.SdConditioning(prompts, **size)
                refused = prompt_parser.SdConditioning(negatives, is_negative_prompt=True, **size)
                found[branch, Half.COND] = prompt_parser.get_multicond_learned_conditioning(
                    shared.sd_model, asked, steps, None, old
                )
                found[branch, Half.UNCOND] = prompt_parser.get_learned_conditioning(
                    shared.sd_model, refused, steps, None, old
                )
    return found


def at_step(schedules: Schedules, rows: Sequence[Row], step: int) -> dict[Row, Tensor]:
    """The condition [token, width] of every row at the host's step number ``step``."""
    batches: dict[tuple[int, Half], Tensor] = {}
    for key in {(row.branch, row.half) for row in rows}:
        if key[1] is Half.COND:
            batches[key] = prompt_parser.reconstruct_multicond_batch(schedules[key], step)[1]
        else:
            batches[key] = prompt_parser.reconstruct_cond_batch(schedules[key], step)
    return {row: batches[row.branch, row.half][row.image] for row in rows}


def stacked(conditions: Sequence[Tensor], tokens: int = 0) -> Tensor:
    """One batch of at least ``tokens`` columns; shorter texts repeat their last vector (prompt_parser.stack_conds)."""
    longest = max(tokens, *(condition.shape[0] for condition in conditions))
    return torch.stack(
        [torch.cat([part, part[-1:].expand(longest - part.shape[0], -1)]) if len(part) < longest else part
         for part in conditions]
    )  # fmt: skip
