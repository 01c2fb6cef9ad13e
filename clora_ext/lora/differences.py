"""What each kind of LoRA adds to a layer's weight, worked out as WebUI's built-in Lora does, without its scale."""

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

Parts = Mapping[str, Tensor]
"""The tensors of one layer, by the end of their names."""
DOWN, UP, CORE = "lora_down.weight", "lora_up.weight", "lora_mid.weight"
INPUTS = "oft_inputs"
"""PEFT's rotations [block, n, n] of a layer's inputs; those of kohya and LyCORIS turn its outputs."""


def factors(parts: Parts, _: Tensor) -> Tensor:
    """LoRA and LoCon: up times down."""
    down, up = low_rank_factors(parts)
    return up.flatten(1) @ down.flatten(1)


def low_rank_factors(parts: Parts) -> tuple[Tensor, Tensor]:
    """Down [rank, in, ...] and up [out, rank, ...]; a Tucker core, which has the kernel, becomes part of down."""
    down, up = parts[DOWN], parts[UP]
    if CORE in parts:
        down = torch.einsum("mrhw,ri->mihw", parts[CORE], down.flatten(1))
    return down, up


def _product(parts: Parts, name: str, core: str) -> Tensor:
    """``name``_a @ ``name``_b, around a core [rank, rank, kh, kw] where there is one."""
    first, second = parts[f"{name}_a"], parts[f"{name}_b"]
    if core not in parts:
        return first.flatten(1) @ second.flatten(1)
    return torch.einsum("ijkl,jr,ip->prkl", parts[core], second, first)


def hadamard(parts: Parts, _: Tensor) -> Tensor:
    """LoHa: two products, number by number."""
    return _product(parts, "hada_w1", "hada_t1") * _product(parts, "hada_w2", "hada_t2")


def kronecker(parts: Parts, weight: Tensor) -> Tensor:
    """LoKr: every number of the first matrix times the whole second one."""
    first = parts["lokr_w1"] if "lokr_w1" in parts else _product(parts, "lokr_w1", "lokr_t1")
    second = parts["lokr_w2"] if "lokr_w2" in parts else _product(parts, "lokr_w2", "lokr_t2")
    kernel = [1] * (second.dim() - first.dim())
    return torch.kron(first.reshape(*first.shape, *kernel), second.contiguous())


def full(parts: Parts, _: Tensor) -> Tensor:
    """The difference itself."""
    return parts["diff"]


def norm(parts: Parts, _: Tensor) -> Tensor:
    """That of a norm's weight."""
    return parts["w_norm"]


def bias_alone(parts: Parts, weight: Tensor) -> Tensor:
    """None: only the bias changes."""
    return torch.zeros_like(weight)


def scaled(parts: Parts, weight: Tensor) -> Tensor:
    """IA3: each input, or each output, times a number of its own."""
    axis = 1 if bool(parts["on_input"].item()) else 0
    sizes = [1] * weight.dim()
    sizes[axis] = -1
    return weight * parts["weight"].reshape(sizes)


def generalised(parts: Parts, weight: Tensor) -> Tensor:
    """GLoRA: b2 b1 + W a2 a1."""
    a1, a2, b1, b2 = (parts[f"{name}.weight"].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    return b2 @ b1 + weight.flatten(1) @ a2 @ a1


def rotated(parts: Parts, weight: Tensor) -> Tensor:
    """OFT and BOFT: outputs turned in blocks; ``oft_diag`` has the rotations themselves, those of inputs ``INPUTS``."""
    if INPUTS in parts:
        return turned_inputs(parts[INPUTS], weight) - weight
    out = weight.shape[0]
    if "oft_diag" in parts:
        turned = _turn(parts["oft_diag"].mT, weight)
    else:
        blocks = _rotations(parts["oft_blocks"], parts.get("alpha"), out)
        turned = _turn(blocks.mT, weight) if blocks.dim() == 3 else _butterfly(blocks, weight)
    if "rescale" in parts:
        turned = turned * parts["rescale"].reshape(-1, *[1] * (weight.dim() - 1))
    return turned - weight


def _rotations(blocks: Tensor, constraint: Tensor | None, out: int) -> Tensor:
    """Cayley's rotations of the skew parts of ``blocks``, whose norm is at most alpha times the outputs."""
    skew = blocks - blocks.mT
    bound = 0.0 if constraint is None else float(constraint) * out
    if bound:
        norm = skew.norm()
        skew = skew * ((norm.clamp(max=bound) + 1e-8) / (norm + 1e-8))
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    inverse: Tensor = torch.linalg.inv(eye - skew)
    return (eye + skew) @ inverse


def _turn(blocks: Tensor, weight: Tensor) -> Tensor:
    """Every block [block, n, n] applied to its own n outputs."""
    by_block = weight.reshape(blocks.shape[0], blocks.shape[1], -1)
    return (blocks @ by_block).reshape(weight.shape)


def turned_inputs(blocks: Tensor, weight: Tensor) -> Tensor:
    """PEFT's OFT: a layer with ``weight`` whose inputs are turned before it, n by each block [block, n, n].

    A single block is for all of them. A convolution's inputs are those of each place in its kernel.
    """
    size = blocks.shape[-1]
    by_block = weight.flatten(1).unflatten(1, (-1, size))
    turned = torch.einsum("obi,bji->obj", by_block, blocks.expand(by_block.shape[1], size, size))
    return turned.reshape(weight.shape)


def _butterfly(levels: Tensor, weight: Tensor) -> Tensor:
    """BOFT: ``levels`` [level, block, n, n] one after the other, each on outputs of another distance."""
    half = levels.shape[-1] // 2

    def one_level(turned: Tensor, level: int) -> Tensor:
        near = turned.reshape(-1, 2, 2**level * half, turned[0].numel())
        mixed = _turn(levels[level], near.transpose(1, 2).reshape(weight.shape))
        return mixed.reshape(near.transpose(1, 2).shape).transpose(1, 2).reshape(weight.shape)

    return reduce(one_level, range(levels.shape[0]), weight)


def with_magnitude(difference: Tensor, weight: Tensor, magnitude: Tensor) -> Tensor:
    """DoRA: both together have lengths of their own, by column [1, in, ...] or by row [out, 1, ...]."""
    merged = weight + difference
    axes = list(range(1, weight.dim())) if is_by_row(magnitude, weight) else [0, *range(2, weight.dim())]
    lengths: Tensor = torch.linalg.vector_norm(merged, dim=axes, keepdim=True)
    return merged * (magnitude.reshape(lengths.shape) / lengths) - weight


def is_by_row(magnitude: Tensor, weight: Tensor) -> bool:
    """Whether DoRA's lengths are those of outputs, as PEFT and newer LyCORIS have them; WebUI knows inputs' alone."""
    return magnitude.shape[0] == weight.shape[0] and magnitude[0].numel() == 1
