"""Muon for matrices and convolutions with AdamW for the rest, averaged weights, and training in several processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .machine import cores


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Brings the singular values of matrices [..., m, n] near 1 by Newton-Schulz iteration in bfloat16.

    Source: Muon (Keller Jordan, 2024), quintic iteration with coefficients 3.4445, -4.7750, 2.0315.
    """
    x = matrix.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    if tall:
        x = x.mT
    return x.to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose step is orthogonalised, for weights of two and more dimensions.

    Convolutions count as matrices [out, in * kh * kw]; those of one shape are worked on together. A step has size
    lr * sqrt(max(1, rows / columns)) per singular direction. lr may be a tensor. In a process group every process works
    on its share of the weights and the shares are summed.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float | Tensor = 0.02, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Takes one step; closure is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure: compute the gradients before step()")
        world = dist.get_world_size() if dist.is_initialized() else 1
        rank = dist.get_rank() if world > 1 else 0
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in params]
            for p in params:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum"] for p in params]
            torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])  # noqa: SLF001
            updates = [torch.zeros_like(p) if world > 1 else p for p in params]
            shapes: dict[tuple[int, int], list[int]] = {}
            for index in range(rank, len(params), world):
                shapes.setdefault((len(ahead[index]), ahead[index][0].numel()), []).append(index)
            for (rows, columns), indexes in shapes.items():
                steps = orthogonalise(torch.stack([ahead[i].flatten(1) for i in indexes]))
                steps = steps * max(1.0, rows / columns) ** 0.5
                for i, step in zip(indexes, steps, strict=True):
                    updates[i] = step.view_as(params[i])
            if world > 1:
                updates = all_reduce_sum(updates)
            torch._foreach_add_(params, torch._foreach_mul(updates, -group["lr"]))  # noqa: SLF001


def all_reduce_sum(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sums tensors over the process group in one message; returns new tensors of the same shapes."""
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    parts = flat.split([t.numel() for t in tensors])
    return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]


def average_gradients(params: Sequence[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the process group; without a group does nothing."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    with_grad = [p for p in params if p.grad is not None]
    mean = all_reduce_sum([p.grad / dist.get_world_size() for p in with_grad])
    for p, g in zip(with_grad, mean, strict=True):
        p.grad = g


def split_params(
    modules: Sequence[nn.Module], outer: Sequence[str] = ()
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters for Muon (two and more dimensions) and for AdamW (vectors, embeddings and names ending in `outer`)."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for module in modules:
        embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
        for name, p in module.named_parameters():
            if not p.requires_grad:
                continue
            plain = p.ndim < 2 or id(p) in embeddings or any(name.endswith(end) for end in outer)
            (rest if plain else matrices).append(p)
    return matrices, rest


class Average:
    """Exponential moving average of modules' parameters with a warm-up of the decay."""

    def __init__(self, modules: Sequence[nn.Module], decay: float) -> None:
        self.params = [p for m in modules for p in m.parameters()]
        self.decay = decay
        self.steps = 0
        self.values = [p.detach().clone() for p in self.params]

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the present weights."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.params], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the averaged and the present weights; a second call undoes it."""
        for p, value in zip(self.params, self.values, strict=True):
            present = p.detach().clone()
            p.copy_(value)
            value.copy_(present)

    def state_dict(self) -> dict[str, Any]:
        """Values and step count for a checkpoint."""
        return {"values": self.values, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what state_dict gave."""
        self.steps = state["steps"]
        for value, saved in zip(self.values, state["values"], strict=True):
            value.copy_(saved)


def schedule(step: int, steps: int, warmup: int = 40, decay_from: float = 0.5, last: float = 0.05) -> float:
    """Factor on the learning rate: linear warm-up, constant, then linear down to `last` from decay_from * steps on."""
    start = decay_from * steps
    down = 1.0 if step <= start else 1.0 - (1.0 - last) * min(1.0, (step - start) / max(1.0, steps - start))
    return min(1.0, (step + 1) / warmup) * down


def set_rate(optimizers: Sequence[torch.optim.Optimizer], factor: float) -> None:
    """Sets every group's lr to its first lr times factor; an lr that is a tensor is changed in place."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            first = group.setdefault("first_lr", float(group["lr"]))
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(first * factor)
            else:
                group["lr"] = first * factor


def adamw(params: Iterable[nn.Parameter], lr: float, device: torch.device) -> torch.optim.AdamW:
    """AdamW without weight decay whose step can be part of a replayed graph on a GPU."""
    gpu = device.type == "cuda"
    rate = torch.tensor(lr, device=device) if gpu else lr
    return torch.optim.AdamW(params, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, capturable=gpu)


def muon(params: Iterable[nn.Parameter], lr: float, device: torch.device) -> Muon:
    """Muon whose step can be part of a replayed graph on a GPU."""
    return Muon(params, lr=torch.tensor(lr, device=device) if device.type == "cuda" else lr)


class Replayed:
    """A training step that a GPU replays as one graph, which saves the host's work; elsewhere it is just called.

    step takes tensors, of the same shapes every time, and returns detached tensors. It must do everything on the device
    without reading a value back, and begin by setting the gradients to None. The first `plain` calls run it as it is;
    what later calls return is overwritten by the next.
    """

    def __init__(self, step: Callable[..., tuple[Tensor, ...]], device: torch.device, plain: int = 3) -> None:
        self.step = step
        self.device = device
        self.plain = plain
        self.inputs: list[Tensor] = []
        self.outputs: tuple[Tensor, ...] = ()
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The step's outputs for inputs on any device."""
        if self.device.type != "cuda":
            return self.step(*(x.to(self.device) for x in inputs))
        if not self.inputs:
            self.inputs = [x.to(self.device, copy=True) for x in inputs]
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given)
        if self.plain > 0:
            self.plain -= 1
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                outputs = self.step(*self.inputs)
            torch.cuda.current_stream().wait_stream(stream)
            return outputs
        if self.graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.outputs = self.step(*self.inputs)
            self.graph = graph
        self.graph.replay()
        return self.outputs


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes a GPU when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _worker(rank: int, world: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "localhost", str(port)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    try:
        function(rank, world, *arguments)
    finally:
        dist.destroy_process_group()


def helpers(device: torch.device) -> int:
    """How many processes prepare data: none beside a CPU that trains, else all cores but two."""
    return 0 if device.type == "cpu" else max(1, cores() - 2)


def fan_out(function: Callable[[Any], Any], arguments: Sequence[Any], workers: int) -> Iterator[Any]:
    """function(argument) for each argument in order, computed in `workers` processes, or here if there are none.

    Elsewhere than on Linux always here: Windows can not fork, and what macOS's libraries hold does not survive it.
    """
    if not workers or not sys.platform.startswith("linux"):
        yield from map(function, arguments)
        return
    with torch.multiprocessing.get_context("fork").Pool(workers, initializer=torch.set_num_threads, initargs=(1,)) as p:
        yield from p.imap(function, arguments)


def launch(function: Callable[..., None], device: torch.device, *arguments: Any, workers: int = 0) -> None:
    """Runs function(rank, world, *arguments) in `workers` processes of one thread each.

    0 workers: in this process on a GPU, else one process per core that may be used, at most 4.
    """
    world = workers or (min(4, cores()) if device.type == "cpu" else 1)
    if world == 1:
        function(0, 1, *arguments)
        return
    # glibc gives large blocks back at once otherwise, and every step pays for the page faults
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "8000000000")
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "8000000000")
    port = 20000 + os.getpid() % 20000
    torch.multiprocessing.spawn(_worker, args=(world, port, function, arguments), nprocs=world, join=True)


def save_atomically(state: Any, path: os.PathLike[str] | str) -> None:
    """torch.save to a neighbour, then rename, so that an interrupted run never leaves half a file."""
    partial = Path(f"{os.fspath(path)}.partial")
    torch.save(state, partial)
    partial.replace(path)
