"""The host's modules of kinds of LoRA that PEFT works out in another way than the host does."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clora_ext.lora.differences import INPUTS, Parts, is_by_row, turned_inputs, with_magnitude


def with_known_parts(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parts that the host does not know, called as those by which it makes a module of their kind."""
    return {key.replace(f".{INPUTS}", ".oft_diag"): tensor for key, tensor in tensors.items()}


def mend(module: Any, parts: Parts) -> None:
    """Have the host's ``module``, of a layer's ``parts``, work out what these stand for."""
    if module.dora_scale is not None and is_by_row(module.dora_scale, module.sd_module.weight):
        _scale_rows(module)
    if INPUTS in parts:
        _turn_inputs(module)


def _scale_rows(module: Any) -> None:
    """PEFT's DoRA has the lengths of a weight's rows, where the host's has those of its columns."""
    scale = module.dora_scale

    def apply_weight_decompose(updown: Tensor, orig_weight: Tensor) -> Tensor:
        return with_magnitude(updown, orig_weight.to(updown), scale.to(updown))

    module.apply_weight_decompose = apply_weight_decompose


def _turn_inputs(module: Any) -> None:
    """PEFT's OFT turns a layer's inputs, where the host's turns its outputs."""

    def calc_updown(orig_weight: Tensor) -> Any:
        turned = turned_inputs(module.oft_blocks.to(orig_weight), orig_weight)
        return module.finalize_updown(turned - orig_weight, orig_weight, orig_weight.shape)

    module.calc_updown = calc_updown
