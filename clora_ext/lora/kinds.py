"""The kinds of LoRA, each as a difference of a layer's weight, worked out as WebUI's built-in Lora does.

A layer's parts are its tensors by the end of their names. Every kind that is not two factors becomes a whole
difference, exact for the weights that the layer has.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from clora_ext.lora import differences
from clora_ext.lora.deltas import Delta, DenseDelta, LowRank
from clora_ext.lora.differences import CORE, DOWN, INPUTS, UP, Parts, low_rank_factors

Shape = tuple[int, ...]
OUT_OF_MEMORY = (MemoryError, torch.cuda.OutOfMemoryError)
"""What says nothing of a file, and is never told as a fault of one."""


class PartsError(ValueError):
    """A layer's parts are no LoRA of a known kind; the message says of the layer what is missing or not known."""


class MisfitError(PartsError):
    """They have other sizes than the layer that they are for."""


@dataclass(frozen=True)
class LoraKind:
    """A way to write a difference of weights down."""

    name: str
    needs: tuple[tuple[str, ...], ...]
    """One of each group has to be there; a name with a blank stands for two."""
    difference: Callable[[Parts, Tensor], Tensor]
    """From the parts and the layer's weight, without scale."""
    ranks: tuple[str, ...] = ()
    """The parts of which the first that is there has the rank as its length; alpha is divided by it."""
    more: tuple[str, ...] = field(default=())

    def missing(self, parts: Parts) -> list[str]:
        """What has to be there and is not."""
        return [choices[0] for choices in self.needs if not any(_all_there(parts, choice) for choice in choices)]

    @property
    def known(self) -> set[str]:
        """All parts that it can have."""
        return {name for choices in self.needs for choice in choices for name in choice.split()} | set(self.more)


def _all_there(parts: Parts, names: str) -> bool:
    return all(name in parts for name in names.split())


_HADA = (("hada_w1_a",), ("hada_w1_b",), ("hada_w2_a",), ("hada_w2_b",))
_LOKR = (("lokr_w1", "lokr_w1_a lokr_w1_b"), ("lokr_w2", "lokr_w2_a lokr_w2_b"))
_GLORA = (("a1.weight",), ("a2.weight",), ("b1.weight",), ("b2.weight",))
_LOKR_RANKS = ("lokr_w2_b", "lokr_w1_b")
KINDS = (
    LoraKind("LoRA", ((DOWN,), (UP,)), differences.factors, ranks=(DOWN,), more=(CORE,)),
    LoraKind("LoHa", _HADA, differences.hadamard, ranks=("hada_w1_b",), more=("hada_t1", "hada_t2")),
    LoraKind("LoKr", _LOKR, differences.kronecker, ranks=_LOKR_RANKS, more=("lokr_t1", "lokr_t2")),
    LoraKind("IA3", (("weight",), ("on_input",)), differences.scaled),
    LoraKind("GLoRA", _GLORA, differences.generalised),
    LoraKind("OFT", (("oft_blocks", "oft_diag", INPUTS),), differences.rotated, more=("rescale",)),
    LoraKind("full", (("diff",),), differences.full),
    LoraKind("norm", (("w_norm",),), differences.norm, more=("b_norm",)),
    LoraKind("bias", (("diff_b",),), differences.bias_alone),
)
"""Those that WebUI's built-in Lora reads, in its order, and a bias alone."""
COMMON = {"alpha", "scale", "dora_scale", "diff_b", "bias"}
"""Parts that a layer of any kind can have."""
_NUMBERS = {"alpha", "scale", "on_input"}


def kind_of(parts: Parts) -> LoraKind:
    """The kind that the parts are whole of. Raises ``PartsError``, which names what is missing or not known."""
    kind = next((kind for kind in KINDS if not kind.missing(parts)), None)
    if kind is None:
        kind = max(KINDS, key=lambda each: len(each.known & set(parts)))
        if not kind.known & set(parts):
            raise PartsError(f"is of no kind that is known ({', '.join(sorted(parts))})")
        there = sorted(kind.known & set(parts))
        raise PartsError(f"has {', '.join(there)}, but no {', '.join(kind.missing(parts))}")
    unknown = set(parts) - kind.known - COMMON
    if unknown:
        raise PartsError(f"has parts that are not known ({', '.join(sorted(unknown))})")
    return kind


# -- from parts to a delta -------------------------------------------------------------------------------------------


def delta_of_parts(parts: Parts, weight: Tensor, multiplier: float) -> Delta:
    """What a layer's parts add to a layer with ``weight``; two factors stay factors. Raises ``PartsError``."""
    kind = fitting_kind(parts, tuple(weight.shape))
    exact = {name: part.float() for name, part in parts.items()}
    if kind.name == "LoRA" and not set(parts) & {"dora_scale", "bias", "diff_b"}:
        return LowRank(*low_rank_factors(exact), multiplier * _scale(kind, exact))
    bias = exact.get("b_norm", exact.get("diff_b"))
    added = None if bias is None else bias * multiplier
    if kind.name == "bias":
        return DenseDelta(None, added)
    device = next(iter(exact.values())).device
    own = weight.detach().to(device, torch.float32)
    return DenseDelta(_difference(kind, exact, own) * multiplier, added)


def fitting_kind(parts: Parts, shape: Shape) -> LoraKind:
    """The kind of a layer's parts, which give a difference for a weight of ``shape``; computes nothing.

    Raises ``PartsError`` where they do not.
    """
    kind = kind_of(parts)
    meta = {name: part if name in _NUMBERS else part.to("meta", torch.float32) for name, part in parts.items()}
    try:
        found = tuple(_difference(kind, meta, torch.empty(shape, device="meta")).shape)
    except OUT_OF_MEMORY:
        raise
    except (RuntimeError, IndexError) as error:
        raise MisfitError(f"has sizes that contradict each other or the checkpoint's, {_sizes(shape)}") from error
    if found != shape and not _narrower(found, shape):
        raise MisfitError(f"is for {_sizes(found)} numbers, and the checkpoint's has {_sizes(shape)}")
    biases = [parts[name].numel() for name in ("b_norm", "diff_b") if name in parts]
    if biases not in ([], [shape[0]]):
        raise MisfitError(f"has a bias of {biases[0]} numbers, and the checkpoint's has {shape[0]}")
    return kind


def _difference(kind: LoraKind, parts: Parts, weight: Tensor) -> Tensor:
    """Of a layer's weight, at a multiplier of 1."""
    found = _shaped(kind.difference(parts, weight), tuple(weight.shape))
    if "bias" in parts:
        found = found + parts["bias"].reshape(found.shape)
    found = found * _scale(kind, parts)
    return differences.with_magnitude(found, weight, parts["dora_scale"]) if "dora_scale" in parts else found


def _scale(kind: LoraKind, parts: Parts) -> float:
    if "scale" in parts and kind.name != "OFT":
        return float(parts["scale"])
    rank = next((parts[name].shape[0] for name in kind.ranks if name in parts), None)
    return float(parts["alpha"]) / rank if rank and "alpha" in parts else 1.0


def _shaped(difference: Tensor, shape: Shape) -> Tensor:
    """``difference`` with the layer's axes; a convolution of an inpainting model may have more inputs."""
    if len(shape) == 4:
        return difference if difference.dim() == 4 else difference.reshape(shape[0], -1, *shape[2:])
    return difference.reshape(shape) if difference.numel() == prod(shape) else difference


def _narrower(found: Shape, shape: Shape) -> bool:
    """An inpainting model's first convolution has more inputs than the LoRA knows."""
    wide = len(shape) == 4 and len(found) == 4 and found[1] < shape[1]
    return wide and (found[0], *found[2:]) == (shape[0], *shape[2:])


def _sizes(shape: Shape) -> str:
    return " x ".join(map(str, shape))
