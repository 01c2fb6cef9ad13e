"""Text conditions of every branch, encoded by the host with the branch's LoRAs in its text encoders."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from modules import devices, prompt_parser, shared
from torch import Tensor

from clora_ext.batch.conditions import Condition
from clora_ext.batch.rows import Half, Row
from clora_ext.engine.branches import ActiveLora
from clora_ext.hosts.webui.drive.networks import Networks, host_applies
from clora_ext.hosts.webui.drive.sampling_pass import SamplingPass

Batch = Any
"""The host's conditions of several rows: a tensor [row, token, width], or for SDXL a dictionary of ``crossattn`` and
``vector`` (prompt_parser.DictWithShape)."""


class Schedules:
    """Per branch and half of guidance, what the host's prompt parser made for all images; see ``encode``."""

    def __init__(self, found: Mapping[tuple[int, Half], Any]) -> None:
        self._found = found

    def at(self, rows: Sequence[Row], call: int) -> Mapping[Row, Condition]:
        """The condition of every row that we have encoded at the host's count ``call`` of model calls."""
        batches: dict[tuple[int, Half], Batch] = {}
        for key in {(row.branch, row.half) for row in rows} & set(self._found):
            if key[1] is Half.COND:
                batches[key] = prompt_parser.reconstruct_multicond_batch(self._found[key], call)[1]
            else:
                batches[key] = prompt_parser.reconstruct_cond_batch(self._found[key], call)
        ours = [row for row in rows if (row.branch, row.half) in batches]
        return {row: condition_of(batches[row.branch, row.half], row.image) for row in ours}


def encode_texts(
    texts: Mapping[int, Sequence[str]],
    text_loras: Mapping[int, Sequence[ActiveLora]],
    nets: Networks,
    others: Sequence[Any],
    sampling: SamplingPass,
) -> Schedules:
    """Encode ``texts[b]`` (one per image) and the pass's negative prompts for every branch b of ``texts``.

    ``others`` are networks that stay on everywhere.
    """
    found: dict[tuple[int, Half], Any] = {}
    width, height = sampling.width, sampling.height
    counts = (sampling.calls, sampling.hires_calls, shared.opts.use_old_scheduling)
    with torch.no_grad(), devices.autocast():
        for branch, prompts in texts.items():
            with host_applies(text_loras[branch], nets, others):
                asked = prompt_parser.SdConditioning(prompts, width=width, height=height)
                refused = prompt_parser.SdConditioning(
                    sampling.negatives, is_negative_prompt=True, width=width, height=height
                )
                found[branch, Half.COND] = prompt_parser.get_multicond_learned_conditioning(
                    shared.sd_model, asked, *counts
                )
                found[branch, Half.UNCOND] = prompt_parser.get_learned_conditioning(shared.sd_model, refused, *counts)
    return Schedules(found)


# -- between the host's batches and our conditions -------------------------------------------------------------------


def condition_of(batch: Batch, row: int) -> Condition:
    """One row of the host's batch."""
    if isinstance(batch, Mapping):
        return Condition(batch["crossattn"][row], batch["vector"][row])
    return Condition(batch[row])


def conditions_of(batch: Batch) -> list[Condition]:
    """Every row of the host's batch."""
    return [condition_of(batch, row) for row in range(batch.shape[0])]


def to_host(condition: Condition, like: Batch | None = None) -> Batch:
    """Stacked conditions as the host has them; where and as ``like`` is."""
    if condition.pooled is None:
        return condition.tokens if like is None else condition.tokens.to(like)
    parts = {"crossattn": condition.tokens, "vector": condition.pooled}
    if like is not None:
        parts = {name: part.to(like[name]) for name, part in parts.items()}
    return prompt_parser.DictWithShape(parts, parts["crossattn"].shape)


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of equal length of text one after the other."""
    if not isinstance(batches[0], Mapping):
        return torch.cat(list(batches))
    parts = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    return prompt_parser.DictWithShape(parts, parts["crossattn"].shape)


def model_arguments(condition: Condition, image_cond: Tensor) -> dict[str, Any]:
    """What the host's model is given of texts and image (sd_samplers_cfg_denoiser.py, make_condition_dict)."""
    if condition.pooled is None:
        return {"c_crossattn": [condition.tokens], "c_concat": [image_cond]}
    return {"crossattn": condition.tokens, "vector": condition.pooled, "c_concat": [image_cond]}


def chosen_rows(cond: Mapping[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Some rows of what the host's model is given: tensors by rows, lists tensor by tensor."""
    return {
        name: [tensor[rows] for tensor in part] if isinstance(part, (list, tuple)) else part[rows]
        for name, part in cond.items()
    }
