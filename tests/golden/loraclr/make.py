"""`python -m tests.golden.loraclr.make weight_fusion.py FOLDER`: one small layer, merged by the authors' own code.

weight_fusion.py is that of https://github.com/enisimsar/LoRACLR. Of it only the function that learns a layer is run; it
is read from the file, for the rest of the file wants libraries of another time.
"""

from __future__ import annotations

import ast
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

FUNCTION = "update_contrastive"
NUMBERS = {"lr": 1e-4, "lambda_reg": 0.001, "lambda_mse": 0.1, "lambda_con": 1.0, "margin": 0.5}
"""As ``compose_concepts`` calls it."""
ITERATIONS = 50
CASES = {"weak": (0.02, 0.05), "strong": (0.3, 1.0), "close": (0.02, 0.004)}
"""How large the LoRAs' deltas and the inputs are; close ones are within the margin of each other."""
LORAS, RANK, OUT, WIDTH, SAMPLES = 3, 4, 16, 24, 14


def authors_function(source: Path) -> Callable[..., Tensor]:
    """Theirs."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == FUNCTION]
    names = {"torch": torch, "F": functional, "logging": logging}
    exec(compile(ast.Module([found], []), source.name, "exec"), names)
    return names[FUNCTION]


def made(name: str) -> dict[str, Tensor]:
    """A case's weight [out, in], factors and inputs [lora, sample, in]."""
    delta, size = CASES[name]
    generator = torch.Generator().manual_seed(sorted(CASES).index(name))

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "weight": random(OUT, WIDTH) / WIDTH**0.5,
        "up": random(LORAS, OUT, RANK) * delta,
        "down": random(LORAS, RANK, WIDTH),
        "inputs": random(LORAS, SAMPLES, WIDTH) * size,
    }


def main(source: Path, folder: Path) -> None:
    """Write every case with what the authors' code makes of it."""
    learn = authors_function(source)
    warnings.filterwarnings("ignore")  # without a GPU, its half precision and its scaler turn themselves off
    for name in CASES:
        case = made(name)
        own = case["weight"] + case["up"] @ case["down"]
        pairs = [(x, x @ each.T) for x, each in zip(case["inputs"], own, strict=True)]
        learnt = learn(pairs, case["weight"], ITERATIONS, "cpu", NUMBERS)
        save_file({**case, "delta": learnt - case["weight"]}, str(folder / f"{name}.safetensors"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
