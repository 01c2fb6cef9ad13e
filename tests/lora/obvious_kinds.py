"""Every kind of LoRA as a weight W + dW, number by number: slow, and from the kinds' papers and trainers alone."""

from collections.abc import Callable, Mapping
from itertools import product

import torch
from torch import Tensor

Parts = Mapping[str, Tensor]
ALPHA = torch.tensor(2.0)
RANK = 4


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape) * 0.3


def _with_kernel(weight: Tensor, at: Callable[[int, int, int, int], Tensor]) -> Tensor:
    """A difference for ``weight`` from a function of output, input and place in the kernel."""
    out, inputs, *kernel = weight.shape
    height, width = kernel or (1, 1)
    found = torch.zeros(out, inputs, height, width)
    for o, i, y, x in product(range(out), range(inputs), range(height), range(width)):
        found[o, i, y, x] = at(o, i, y, x)
    return found.reshape(weight.shape)


def low_rank(parts: Parts, weight: Tensor) -> Tensor:
    down, up = parts["lora_down.weight"], parts["lora_up.weight"]
    rank = down.shape[0]
    down = down.reshape(rank, weight.shape[1], *(weight.shape[2:] or (1, 1)))
    scale = float(parts["alpha"]) / rank if "alpha" in parts else 1.0
    return scale * _with_kernel(weight, lambda o, i, y, x: sum(up[o, r].sum() * down[r, i, y, x] for r in range(rank)))


def tucker(parts: Parts, weight: Tensor) -> Tensor:
    down, core, up = (parts[f"lora_{name}.weight"] for name in ("down", "mid", "up"))
    scale = float(parts["alpha"]) / RANK
    ranks = list(product(range(RANK), range(RANK)))
    return scale * _with_kernel(
        weight,
        lambda o, i, y, x: sum(up[o, a, 0, 0] * core[a, b, y, x] * down[b, i, 0, 0] for a, b in ranks),
    )


def hadamard(parts: Parts, weight: Tensor) -> Tensor:
    one = parts["hada_w1_a"] @ parts["hada_w1_b"]
    other = parts["hada_w2_a"] @ parts["hada_w2_b"]
    return float(parts["alpha"]) / RANK * (one * other).reshape(weight.shape)


def hadamard_tucker(parts: Parts, weight: Tensor) -> Tensor:
    ranks = list(product(range(RANK), range(RANK)))

    def factor(n: int, o: int, i: int, y: int, x: int) -> Tensor:
        core, first, second = (parts[f"hada_{name}"] for name in (f"t{n}", f"w{n}_a", f"w{n}_b"))
        return sum(core[a, b, y, x] * first[a, o] * second[b, i] for a, b in ranks)

    scale = float(parts["alpha"]) / RANK
    return scale * _with_kernel(weight, lambda *place: factor(1, *place) * factor(2, *place))


def kronecker(parts: Parts, weight: Tensor) -> Tensor:
    first = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    second = parts["lokr_w2"] if "lokr_w2" in parts else parts["lokr_w2_a"] @ parts["lokr_w2_b"]
    scale = 1.0 if "lokr_w2" in parts and "lokr_w1" in parts else float(parts["alpha"]) / RANK
    second = second.reshape(weight.shape[0] // first.shape[0], weight.shape[1] // first.shape[1], *weight.shape[2:])
    second = second.reshape(*second.shape[:2], *(second.shape[2:] or (1, 1)))
    rows, columns = second.shape[:2]
    return scale * _with_kernel(
        weight,
        lambda o, i, y, x: first[o // rows, i // columns] * second[o % rows, i % columns, y, x],
    )


def scaled(parts: Parts, weight: Tensor) -> Tensor:
    numbers, on_input = parts["weight"], bool(parts["on_input"])
    return _with_kernel(weight, lambda o, i, y, x: weight[o, i] * numbers[i if on_input else o])


def generalised(parts: Parts, weight: Tensor) -> Tensor:
    a1, a2, b1, b2 = (parts[f"{name}.weight"] for name in ("a1", "a2", "b1", "b2"))
    return torch.linalg.multi_dot([weight, a2, a1]) + b2 @ b1


def _rotation(block: Tensor) -> Tensor:
    """Cayley: (1 + Q) (1 - Q)^-1 of the skew part."""
    skew, one = block - block.T, torch.eye(len(block))
    return (one + skew) @ torch.linalg.solve(one - skew, one)


def rotated(parts: Parts, weight: Tensor) -> Tensor:
    """A block-diagonal matrix of all rotations, transposed, times the weight."""
    if "oft_diag" in parts:
        whole = torch.block_diag(*parts["oft_diag"]).T
    else:
        whole = torch.block_diag(*[_rotation(block) for block in parts["oft_blocks"]]).T
    turned = whole @ weight.flatten(1)
    if "rescale" in parts:
        turned = parts["rescale"].reshape(-1, 1) * turned
    return turned.reshape(weight.shape) - weight


def butterfly(parts: Parts, weight: Tensor) -> Tensor:
    """Level by level: a permutation, a block-diagonal matrix of rotations, and the permutation back."""
    rows = weight.flatten(1)
    for level, blocks in enumerate(parts["oft_blocks"]):
        distance = 2**level * blocks.shape[-1] // 2
        places = torch.arange(len(rows)).reshape(-1, 2, distance).transpose(1, 2).flatten()
        turned = torch.block_diag(*[_rotation(block) for block in blocks]) @ rows[places]
        rows = torch.empty_like(rows)
        rows[places] = turned
    return rows.reshape(weight.shape) - weight


def _as_told(name: str) -> Callable[[Parts, Tensor], Tensor]:
    return lambda parts, _: parts[name]


def by_column(parts: Parts, weight: Tensor) -> Tensor:
    """DoRA with the length of what every input adds."""
    return _with_lengths(parts, weight.transpose(0, 1), low_rank(parts, weight).transpose(0, 1)).transpose(0, 1)


def by_row(parts: Parts, weight: Tensor) -> Tensor:
    """DoRA with the length of every output's weights."""
    return _with_lengths(parts, weight, low_rank(parts, weight))


def _with_lengths(parts: Parts, weight: Tensor, difference: Tensor) -> Tensor:
    merged = weight + difference
    lengths = parts["dora_scale"].flatten()
    rows = [row / row.square().sum().sqrt() * length for row, length in zip(merged, lengths, strict=True)]
    return torch.stack(rows) - weight


OUT, IN = 16, 8
LINEAR, CONV, NORM = (OUT, IN), (OUT, IN, 3, 3), (IN,)


def _low(*kernel: int) -> dict[str, Tensor]:
    ones = [1] * len(kernel)
    return {"lora_down.weight": _random(RANK, IN, *kernel), "lora_up.weight": _random(OUT, RANK, *ones), "alpha": ALPHA}


def _hada(columns: int) -> dict[str, Tensor]:
    sizes = {"w1_a": (OUT, RANK), "w1_b": (RANK, columns), "w2_a": (OUT, RANK), "w2_b": (RANK, columns)}
    return {f"hada_{name}": _random(*shape) for name, shape in sizes.items()} | {"alpha": ALPHA}


def cases() -> dict[str, tuple[dict[str, Tensor], tuple[int, ...], Callable[[Parts, Tensor], Tensor]]]:
    """Parts, the shape of the weight that they are for, and their difference the slow way."""
    core = {"lora_down.weight": _random(RANK, IN, 1, 1), "lora_up.weight": _random(OUT, RANK, 1, 1)}
    core |= {"lora_mid.weight": _random(RANK, RANK, 3, 3), "alpha": ALPHA}
    cores = {f"hada_t{n}": _random(RANK, RANK, 3, 3) for n in (1, 2)} | {"alpha": ALPHA}
    cores |= {f"hada_w{n}_a": _random(RANK, OUT) for n in (1, 2)} | {f"hada_w{n}_b": _random(RANK, IN) for n in (1, 2)}
    missing = _low()
    del missing["alpha"]
    glora = {"a1": (RANK, IN), "a2": (IN, RANK), "b1": (RANK, IN), "b2": (OUT, RANK)}
    rotations = torch.linalg.qr(torch.randn(4, 4, 4))[0]
    factors = {"lokr_w2_a": _random(4, RANK), "lokr_w2_b": _random(RANK, 4), "alpha": ALPHA}
    both = {"lokr_w1_a": _random(4, 1), "lokr_w1_b": _random(1, 2)}
    kernel = {"lokr_w2_a": _random(4, RANK), "lokr_w2_b": _random(RANK, 36), "alpha": ALPHA}
    return {
        "LoRA": (_low(), LINEAR, low_rank),
        "LoRA without alpha": (missing, LINEAR, low_rank),
        "LoRA, 1x1 for a linear layer": (_low(1, 1), LINEAR, low_rank),
        "LoRA, linear for a 1x1": (_low(), (OUT, IN, 1, 1), low_rank),
        "LoCon": (_low(3, 3), CONV, low_rank),
        "LoCon, Tucker": (core, CONV, tucker),
        "DoRA by column": (_low() | {"dora_scale": _random(1, IN).abs()}, LINEAR, by_column),
        "DoRA by row": (_low() | {"dora_scale": _random(OUT, 1).abs()}, LINEAR, by_row),
        "DoRA, 3x3": (_low(3, 3) | {"dora_scale": _random(1, IN, 1, 1).abs()}, CONV, by_column),
        "LoHa": (_hada(IN), LINEAR, hadamard),
        "LoHa, 3x3": (_hada(IN * 9), CONV, hadamard),
        "LoHa, Tucker": (cores, CONV, hadamard_tucker),
        "LoKr": ({"lokr_w1": _random(4, 2), **factors}, LINEAR, kronecker),
        "LoKr, both in factors": ({**both, **factors}, LINEAR, kronecker),
        "LoKr, both whole": ({"lokr_w1": _random(4, 2), "lokr_w2": _random(4, 4), "alpha": ALPHA}, LINEAR, kronecker),
        "LoKr, 3x3": ({"lokr_w1": _random(4, 2), "lokr_w2": _random(4, 4, 3, 3)}, CONV, kronecker),
        "LoKr, 3x3 in factors": ({"lokr_w1": _random(4, 2), **kernel}, CONV, kronecker),
        "IA3 on inputs": ({"weight": _random(IN), "on_input": torch.tensor(True)}, LINEAR, scaled),
        "IA3 on outputs": ({"weight": _random(OUT), "on_input": torch.tensor(False)}, LINEAR, scaled),
        "GLoRA": ({f"{name}.weight": _random(*shape) for name, shape in glora.items()}, LINEAR, generalised),
        "OFT": ({"oft_blocks": _random(4, 4, 4)}, LINEAR, rotated),
        "OFT, 3x3 with lengths": ({"oft_blocks": _random(4, 4, 4), "rescale": _random(OUT, 1, 1, 1)}, CONV, rotated),
        "OFT, rotations": ({"oft_diag": rotations}, LINEAR, rotated),
        "BOFT": ({"oft_blocks": _random(3, 4, 4, 4)}, LINEAR, butterfly),
        "BOFT, 3x3": ({"oft_blocks": _random(2, 4, 4, 4)}, CONV, butterfly),
        "full": ({"diff": _random(OUT, IN)}, LINEAR, _as_told("diff")),
        "full, with bias": ({"diff": _random(OUT, IN, 3, 3), "diff_b": _random(OUT)}, CONV, _as_told("diff")),
        "norm": ({"w_norm": _random(IN), "b_norm": _random(IN)}, NORM, _as_told("w_norm")),
        "bias alone": ({"diff_b": _random(OUT)}, LINEAR, lambda _, weight: torch.zeros_like(weight)),
        "LoRA, with bias": (_low() | {"diff_b": _random(OUT)}, LINEAR, low_rank),
    }  # fmt: skip
