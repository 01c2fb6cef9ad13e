"""What PEFT writes in another way than kohya and LyCORIS, and what it leaves to its configuration."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clora_ext.lora.differences import DOWN, INPUTS
from clora_ext.lora.names import TEXT, UNET

MOST_TERMS = 50
"""Of the series in which PEFT works rotations out; it has five unless somebody says otherwise."""


def as_lycoris(tensors: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """The tensors, by kohya's names, with what ``config``, PEFT's, says of them; None where there is none.

    LoRA has its alpha, LoHa and LoKr their scale, IA3 the numbers that are added to 1, OFT its rotations.
    """
    told = config if isinstance(config, dict) else {}
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        layer, _, part = key.partition(".")
        found |= _translated(key, layer, part, tensor, told)
        strength = _strength(told, layer, part, tensor)
        if not tensors.keys() & {f"{layer}.{name}" for name in ("alpha", "scale")}:
            found |= {f"{layer}.{name}": value for name, value in strength.items()}
    return found


def _translated(key: str, layer: str, part: str, tensor: Tensor, config: Mapping[str, Any]) -> dict[str, Tensor]:
    if part == "ia3_l" and tensor.dim() == 2:  # [1, inputs] or [outputs, 1]
        return {f"{layer}.weight": tensor.flatten() - 1.0, f"{layer}.on_input": torch.tensor(tensor.shape[0] == 1)}
    rotations = _rotations(tensor, config, layer) if part == "oft_R" else None
    return {key: tensor} if rotations is None else {f"{layer}.{INPUTS}": rotations}


# -- how strong --------------------------------------------------------------------------------------------------------


def _strength(config: Mapping[str, Any], layer: str, part: str, tensor: Tensor) -> dict[str, Tensor]:
    if part == DOWN:
        alpha, rank = _number(config, layer, "lora_alpha", "alpha_pattern"), tensor.shape[0]
        root = rank**0.5 if _told(config, layer, "use_rslora") else 1.0
        return {} if alpha is None else {"alpha": torch.tensor(alpha * root)}
    if part.startswith(("hada_", "lokr_")):
        alpha, rank_told = (
            _number(config, layer, name, f"{of}_pattern") for name, of in (("alpha", "alpha"), ("r", "rank"))
        )
        return {"scale": torch.tensor(alpha / rank_told)} if alpha is not None and rank_told else {}
    return {}


def _number(config: Mapping[str, Any], layer: str, key: str, patterns: str) -> float | None:
    """A number of the configuration, which may have another one for some layers."""
    found, others = _told(config, layer, key), _told(config, layer, patterns)
    for pattern, own in (others if isinstance(others, dict) else {}).items():
        if layer.endswith(str(pattern).replace(".", "_")):
            found = own
    return float(found) if isinstance(found, (int, float)) else None


def _told(config: Mapping[str, Any], layer: str, key: str) -> Any:
    """A value of the configuration; diffusers puts the network's name before the key."""
    network = "unet" if layer.startswith(UNET) else "text_encoder_2" if layer.startswith(f"{TEXT}2") else "text_encoder"
    return config.get(f"{network}.{key}", config.get(key))


# -- OFT ---------------------------------------------------------------------------------------------------------------


def _rotations(triangles: Tensor, config: Mapping[str, Any], layer: str) -> Tensor | None:
    """Rotations from the upper triangles [block, n (n - 1) / 2] of skew matrices; None where that is no such size.

    By Cayley's transform, or as PEFT does it today by the first terms of a series for it.
    """
    size = round((1.0 + (1.0 + 8.0 * triangles.shape[-1]) ** 0.5) / 2.0)
    if triangles.dim() != 2 or size * (size - 1) // 2 != triangles.shape[1]:
        return None
    rows, columns = torch.triu_indices(size, size, 1)
    upper = torch.zeros(triangles.shape[0], size, size)
    upper[:, rows, columns] = triangles.float()
    skew, one = upper - upper.mT, torch.eye(size).expand_as(upper)
    if _told(config, layer, "use_cayley_neumann") is False:
        exact: Tensor = torch.linalg.solve(one + skew, one - skew, left=False)
        return exact
    terms = _told(config, layer, "num_cayley_neumann_terms")
    return _series(one, skew, min(terms, MOST_TERMS) if isinstance(terms, int) else 5)


def _series(one: Tensor, skew: Tensor, terms: int) -> Tensor:
    """1 + 2 Q + 2 Q^2 + ... + Q^last (peft/tuners/oft/layer.py)."""
    found, power, last = one, one, max(3, terms - 1)
    for number in range(1, last + 1):
        power = power @ skew
        found = found + power * (1.0 if number == last else 2.0)
    return found
