"""Layers that are given the same input, as q, k and v of self-attention are: one product down serves all their LoRAs.

Nobody tells a layer what its siblings are given. So the first that is called works it out for all of them, and each
that comes with the very same tensor takes its own part.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from clora_ext.lora.stacks import Stack

SAME_INPUT = ("to_q", "to_k", "to_v")
"""The parts of an ``attn1``, in the order in which they run; ldm, sgm and diffusers agree on the names."""


def self_attention_inputs(unet: nn.Module) -> list[tuple[nn.Module, ...]]:
    """The layers of each self-attention that are given its input."""
    attention = [layer for name, layer in unet.named_modules() if name.endswith("attn1")]
    return [
        tuple(getattr(layer, part) for part in SAME_INPUT)
        for layer in attention
        if all(hasattr(layer, part) for part in SAME_INPUT)
    ]


def join(stacks: Iterable[Sequence[Stack]]) -> None:
    """Let the stacks of siblings know of each other, where all are of the same LoRAs."""
    for each in stacks:
        kinds = {(stack.blocks, stack.width) for stack in each}
        if len(each) > 1 and len(kinds) == 1:
            Siblings(each)


class Siblings:
    """The factors down of siblings as one tensor, of which each stack has its part."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = stacks
        self._given: tuple[Tensor, Tensor] | None = None
        self._inner: tuple[Tensor, ...] = ()
        self._join()
        for stack in stacks:
            stack.siblings = self

    def _join(self) -> None:
        self._down = torch.stack([stack.down for stack in self.stacks])  # sibling, rank, in
        for stack, down in zip(self.stacks, self._down, strict=True):
            stack.down = down

    def move(self, like: Tensor) -> None:
        """Take all to where ``like`` is, and what it is made of."""
        for stack in self.stacks:
            stack.down, stack.up = stack.down.to(like), stack.up.to(like)
        self._join()

    def factors(self, like: Tensor) -> Tensor:
        """All the stacks' ways down [sibling, in, column], as ``like`` is."""
        first = self.stacks[0]
        first.factors_of(None, like)
        return self._down[:, first.rank :].transpose(1, 2)

    def inner(self, stack: Stack, x: Tensor, shares: Tensor, down: Tensor) -> Tensor:
        """``stack``'s own [sample, column] for ``x`` [sample, in], each column as much as ``shares`` say.

        ``x`` itself tells siblings from strangers: it is not compared but by being the same.
        """
        if self._given is None or self._given[0] is not x or self._given[1] is not shares:
            samples = x.reshape(1, -1, x.shape[-1]).to(down.dtype).expand(len(self.stacks), -1, -1)
            found = torch.bmm(samples, down).mul_(shares.reshape(-1, shares.shape[-1]))
            self._given, self._inner = (x, shares), found.unbind(0)
        own = self._inner[self.stacks.index(stack)]
        if stack is self.stacks[-1]:
            self._given, self._inner = None, ()
        return own
