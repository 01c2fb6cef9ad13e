"""What layers are given while each LoRA of a merge draws alone: the part of it that all hosts have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clora_ext.batch.conditions import Condition
from clora_ext.batch.plan import Columns
from clora_ext.core.maps import Grid
from clora_ext.lora.deltas import Delta, DenseDelta, LowRank
from clora_ext.lora.layers import Layers
from clora_ext.merge.layer import FactoredDelta, LayerDelta
from clora_ext.merge.prompts import Prompts, filled
from clora_ext.merge.run import See, Stage

SAMPLER = "DPM++ 2M"
"""By which pictures are drawn, on Karras' noise levels."""
SEED = 1
"""Of the first picture, and the same for every LoRA."""


class PromptedSource(ABC):
    """Meets ``merge.run.Source`` for LoRAs with ``triggers``, with pictures of ``size`` (height, width) in pixels.

    A host says how a text is read and how pictures are drawn; it tells ``on_step`` of every call of the UNet.
    """

    device: torch.device
    dtype: torch.dtype
    """In which the model computes."""
    modules: Layers
    tokens_first: Collection[str] = ()
    """Layers whose inputs are [token, text, width] and not [text, token, width]."""

    def __init__(self, triggers: Sequence[str], prompts: Prompts, size: Grid, on_step: Callable[[], None]) -> None:
        self.triggers, self.prompts, self.size, self.on_step = triggers, prompts, size, on_step

    @abstractmethod
    def encode(self, text: str) -> Condition:
        """What the UNet is given of a text, by a call of every text encoder."""

    @abstractmethod
    def concept(self, text: str, trigger: str) -> tuple[Columns, int]:
        """The columns of the trigger in a text, and that of the text's end."""

    @abstractmethod
    def draw(self, written: Sequence[str], noise: Tensor) -> None:
        """Draw a picture for every text, in one batch, without guidance; ``noise`` is of size 1."""

    def show(
        self, stage: Stage, lora: int, active: Mapping[str, LayerDelta], watched: Collection[str], see: See
    ) -> None:
        """Run the LoRA's prompts with ``active`` deltas, and tell what the layers ``watched`` are given."""
        with _changed(self.modules, active, self.device, self.dtype):
            if stage is Stage.PICTURE:
                self._show_pictures(lora, watched, see)
                return
            for held, prompts in enumerate((self.prompts.learned, self.prompts.held)):
                for prompt in prompts:
                    self._show_text(stage, prompt, lora, watched, lambda name, x: see(name, x, bool(held)))  # noqa: B023

    # -- texts ---------------------------------------------------------------------------------------------------------

    def _show_text(
        self, stage: Stage, prompt: str, lora: int, watched: Collection[str], see: Callable[[str, Tensor], None]
    ) -> None:
        trigger = filled("{}", self.triggers[lora])
        text = filled(prompt, trigger)
        whole = not self.prompts.concept_alone
        columns, end = ((), 0) if whole else self.concept(text, trigger)
        if stage is Stage.CROSS:
            tokens = self.encode(text).tokens
            for name in watched:
                see(name, tokens if whole else tokens[[*columns, end]])
            return

        def see_text(name: str, x: Tensor) -> None:
            by_text = x.transpose(0, 1) if name in self.tokens_first else x
            see(name, by_text if whole else by_text[:, : end + 1])

        with _watching(self.modules, watched, see_text):
            self.encode(text)

    # -- pictures ------------------------------------------------------------------------------------------------------

    def _show_pictures(self, lora: int, watched: Collection[str], see: See) -> None:
        learned, held = (each[: self.prompts.drawn] for each in (self.prompts.learned, self.prompts.held))
        written = [filled(prompt, self.triggers[lora]) for prompt in (*learned, *held)]

        def see_both(name: str, x: Tensor) -> None:
            see(name, x[: len(learned)], False)  # noqa: FBT003 - of a callable
            if held:
                see(name, x[len(learned) :], True)  # noqa: FBT003

        with _watching(self.modules, watched, see_both):
            self.draw(written, _noise(len(written), self.size))


def _noise(pictures: int, size: Grid) -> Tensor:
    """[picture, 4, height / 8, width / 8], as WebUI makes it on the CPU."""
    height, width = size
    generators = [torch.Generator().manual_seed(SEED + picture) for picture in range(pictures)]
    return torch.stack([torch.randn(4, height // 8, width // 8, generator=each) for each in generators])


# -- hooks -------------------------------------------------------------------------------------------------------------


@contextmanager
def _changed(
    modules: Layers, active: Mapping[str, LayerDelta], device: torch.device, dtype: torch.dtype
) -> Generator[None, None, None]:
    """While inside, layers have these deltas."""

    def hook_for(delta: Delta) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
        return lambda layer, args, output: output + delta(layer, args[0]).to(output.dtype)

    with ExitStack() as stack:
        for name, delta in active.items():
            there = _as_delta(delta).to(device, dtype)
            stack.callback(modules[name].register_forward_hook(hook_for(there)).remove)
        yield


@contextmanager
def _watching(
    modules: Layers, watched: Collection[str], see: Callable[[str, Tensor], None]
) -> Generator[None, None, None]:
    """While inside, ``see`` is told of the inputs of layers."""

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, args: see(name, args[0])

    with ExitStack() as stack:
        for name in watched:
            stack.callback(modules[name].register_forward_pre_hook(hook_for(name)).remove)
        yield


def _as_delta(delta: LayerDelta) -> Delta:
    if isinstance(delta, FactoredDelta):
        return LowRank(delta.down, delta.up, 1.0)
    return DenseDelta(delta.matrix, delta.bias)
