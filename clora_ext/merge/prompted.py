"""What layers are given while each LoRA of a merge draws alone: the part of it that all hosts have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clora_ext.batch.conditions import Condition, stacked
from clora_ext.batch.plan import Columns
from clora_ext.core.maps import Grid
from clora_ext.lora.deltas import Delta, DenseDelta, LowRank
from clora_ext.lora.layers import Layers
from clora_ext.merge.layer import FactoredDelta, LayerDelta
from clora_ext.merge.learnt import Addend, Learnt
from clora_ext.merge.lessons import COMPARED, Lessons, Pictures, Teacher, rows_of
from clora_ext.merge.prompts import Prompts, filled
from clora_ext.merge.run import See, Stage

SAMPLER = "DPM++ 2M"
"""By which pictures are drawn, on Karras' noise levels."""
SEED = 1
"""Of the first picture, and the same for every LoRA."""
TWICE = 2  # pictures of each text that teaches all layers together


class PromptedSource(ABC):
    """Meets ``merge.joint.JointSource`` for LoRAs with ``triggers``; pictures have ``size`` (height, width) in pixels.

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
    def encode_all(self, written: Sequence[str]) -> list[Condition]:
        """What the UNet is given of texts, by one call of every text encoder; with a graph where one is asked for."""

    def encode(self, text: str) -> Condition:
        """The same of one text."""
        return self.encode_all([text])[0]

    @abstractmethod
    def concept(self, text: str, trigger: str) -> tuple[Columns, int]:
        """The columns of the trigger in a text, and that of the text's end."""

    @abstractmethod
    def draw(self, written: Sequence[str], noise: Tensor) -> None:
        """Draw a picture for every text, in one batch, without guidance; ``noise`` is of size 1."""

    @abstractmethod
    def nothing(self) -> Condition:
        """What the UNet is given where the negative prompt is empty."""

    @abstractmethod
    def predict(self, z: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The UNet's output for z [row, 4, h, w] at timesteps [row], float32."""

    @property
    @abstractmethod
    def alphas_cumprod(self) -> Tensor:
        """[1000], of the noise schedule."""

    @property
    @abstractmethod
    def predicts_velocity(self) -> bool:
        """Whether the UNet predicts v, and not noise."""

    @property
    @abstractmethod
    def room(self) -> float | None:
        """Bytes that may be taken of the device; None where nobody tells."""

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

    # -- all layers together -------------------------------------------------------------------------------------------

    def pictures(self, lora: int, own: Mapping[str, LayerDelta], tell: Callable[[], None]) -> Pictures:
        """What a LoRA with its ``own`` deltas draws; ``tell`` is called after each of ``LEVELS`` steps."""
        with _changed(self.modules, own, self.device, self.dtype):
            teacher = self._teacher(lora)
            levels: list[Tensor] = []
            for z in teacher.drawn(_noise(len(teacher.pictures), self.size, SEED + len(teacher.pictures) * (lora + 1))):
                if levels:
                    tell()
                levels.append(z)
        finished = levels.pop()
        return Pictures(teacher.lessons(), finished, teacher.missed([z[:COMPARED] for z in levels]))

    def noised(
        self, lora: int, own: Mapping[str, LayerDelta], clean: Iterable[Tensor], tell: Callable[[], None]
    ) -> Lessons:
        """What it predicts for latents of finished pictures, once noise is added; ``tell`` is called for each batch."""
        chance = torch.Generator().manual_seed(SEED + lora)
        with _changed(self.modules, own, self.device, self.dtype):
            teacher = self._teacher(lora)
            for latents in clean:
                teacher.add_noise(latents, chance)
                tell()
        return teacher.lessons()

    def _teacher(self, lora: int) -> Teacher:
        written, held = self._pictured(lora)
        return Teacher(self, [*self.encode_all(written), self.nothing()], held)

    @property
    def lesson_bytes(self) -> int:
        """Of one LoRA's."""
        return bytes_of_lessons(self.prompts, self.size)

    def texts(self, lora: int) -> list[str | None]:
        """Those of a LoRA's lessons by their numbers, and at last none."""
        return [*self._pictured(lora)[0], None]

    def read(self, texts: Sequence[str | None]) -> Condition:
        """What the UNet is given of each text, with the graph of what is learnt; None is an empty negative prompt."""
        written = sorted({text for text in texts if text is not None})
        found: dict[str | None, Condition] = {None: self.nothing()} if None in texts else {}
        found |= zip(written, self.encode_all(written) if written else (), strict=True)
        return stacked([found[text] for text in texts])

    def _pictured(self, lora: int) -> tuple[list[str], int]:
        """The texts of all pictures, and how many of the last ones only judge."""
        prompts = [*self.prompts.pictured * TWICE, *self.prompts.held]
        return [filled(prompt, self.triggers[lora]) for prompt in prompts], len(self.prompts.held)

    @contextmanager
    def learning(self, learnt: Mapping[str, Learnt], fixed: Mapping[str, LayerDelta]) -> Generator[None, None, None]:
        """While inside, layers have these deltas, with a graph of those that are ``learnt``."""
        with (
            _changed(self.modules, fixed, self.device, self.dtype),
            _added(self.modules, learnt),
        ):
            yield

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


def bytes_of_lessons(prompts: Prompts, size: Grid) -> int:
    """Of one LoRA's: two latents a row in half precision, and a few numbers."""
    height, width = size
    pictures = len(prompts.pictured) * TWICE + len(prompts.held)
    return rows_of(pictures) * (2 * 2 * 4 * (height // 8) * (width // 8) + 17)


def _noise(pictures: int, size: Grid, seed: int = SEED) -> Tensor:
    """[picture, 4, height / 8, width / 8], as WebUI makes it on the CPU, of ``seed`` and those after it."""
    height, width = size
    generators = [torch.Generator().manual_seed(seed + picture) for picture in range(pictures)]
    return torch.stack([torch.randn(4, height // 8, width // 8, generator=each) for each in generators])


# -- hooks -------------------------------------------------------------------------------------------------------------


@contextmanager
def _changed(
    modules: Layers, active: Mapping[str, LayerDelta], device: torch.device, dtype: torch.dtype
) -> Generator[None, None, None]:
    """While inside, layers have these deltas."""
    with _added(modules, {name: _as_delta(delta).to(device, dtype) for name, delta in active.items()}):
        yield


@contextmanager
def _added(modules: Layers, deltas: Mapping[str, Addend]) -> Generator[None, None, None]:
    """The same of deltas as layers compute them."""

    def hook_for(delta: Addend) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
        return lambda layer, args, output: output + delta(layer, args[0]).to(output.dtype)

    with ExitStack() as stack:
        for name, delta in deltas.items():
            stack.callback(modules[name].register_forward_hook(hook_for(delta)).remove)
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
