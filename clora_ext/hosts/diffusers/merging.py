"""What layers are given while each LoRA of a merge draws alone: the embedded host as ``merge.run.Source``."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clora_ext.batch.conditions import Condition, stacked
from clora_ext.batch.rows import Half, Row
from clora_ext.core.maps import Grid
from clora_ext.hosts.diffusers import texts
from clora_ext.hosts.diffusers.checkpoint import Model
from clora_ext.hosts.diffusers.host import EmbeddedDenoiser, EncodedTexts
from clora_ext.hosts.diffusers.pipeline import noise
from clora_ext.hosts.diffusers.samplers import SAMPLERS, Sampler
from clora_ext.lora.deltas import Delta, DenseDelta, LowRank
from clora_ext.lora.layers import text_layers, unet_layers
from clora_ext.merge.layer import FactoredDelta, LayerDelta
from clora_ext.merge.prompts import PROMPTS, Prompts, filled
from clora_ext.merge.run import See, Stage

_SAMPLER = "DPM++ 2M"
_SEED = 1
"""Of the first picture, and the same for every LoRA."""


class DrawnFeatures:
    """Meets ``merge.run.Source`` for LoRAs with ``triggers``, with pictures of ``size`` (height, width) in pixels.

    ``on_step`` is told of every call of the UNet.
    """

    def __init__(
        self,
        model: Model,
        triggers: Sequence[str],
        prompts: Prompts = PROMPTS,
        steps: int = 20,
        size: Grid | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        self.model, self.triggers, self.prompts, self.steps, self._on_step = model, triggers, prompts, steps, on_step
        self.size = size or (model.size, model.size)
        self.device = model.device
        encoders = text_layers([encoder.network for encoder in model.text_encoders])
        self.modules: Mapping[str, nn.Module] = encoders | unet_layers(model.unet, model.unet_names)

    def show(
        self, stage: Stage, lora: int, active: Mapping[str, LayerDelta], watched: Collection[str], see: See
    ) -> None:
        """Run the LoRA's prompts with ``active`` deltas, and tell what the layers ``watched`` are given."""
        with self._changed(active):
            if stage is Stage.PICTURE:
                self._draw(lora, watched, see)
                return
            for held, prompts in enumerate((self.prompts.learned, self.prompts.held)):
                for prompt in prompts:
                    self._read(stage, prompt, lora, watched, lambda name, x: see(name, x, bool(held)))  # noqa: B023

    # -- texts ---------------------------------------------------------------------------------------------------------

    def _read(
        self, stage: Stage, prompt: str, lora: int, watched: Collection[str], see: Callable[[str, Tensor], None]
    ) -> None:
        trigger = self.triggers[lora]
        text = filled(prompt, trigger)
        tokens = texts.tokenize(self.model, text)
        rows: slice | list[int] = slice(None)
        if self.prompts.concept_alone:
            end = len(tokens.offsets) + 1
            start = text.find(trigger)
            concept = tokens.columns([(start, start + len(trigger))]) if trigger else ()
            rows = [*concept, end] if stage is Stage.CROSS else slice(end + 1)
        if stage is Stage.TEXT:
            with self._watching(watched, lambda name, x: see(name, x[:, rows])):
                self._encode([text])
            return
        (condition,) = self._encode([text])
        for name in watched:
            see(name, condition.tokens[rows])

    def _encode(self, written: Sequence[str]) -> list[Condition]:
        tokens = [texts.tokenize(self.model, text) for text in written]
        parts = [texts.encode_tokens(encoder, tokens) for encoder in self.model.text_encoders]
        joined = [texts.side_by_side(each) for each in zip(*parts, strict=True)]
        return [texts.text_condition(self.model, text, self.size) for text in joined]

    # -- pictures ------------------------------------------------------------------------------------------------------

    def _draw(self, lora: int, watched: Collection[str], see: See) -> None:
        learned, held = (each[: self.prompts.drawn] for each in (self.prompts.learned, self.prompts.held))
        written = [filled(prompt, self.triggers[lora]) for prompt in (*learned, *held)]
        condition = stacked(self._encode(written))
        generators = [torch.Generator().manual_seed(_SEED + image) for image in range(len(written))]
        sampler = Sampler(SAMPLERS[_SAMPLER](self.model, self.steps), generators)
        latent = sampler.begin(noise(generators, *self.size).to(self.model.device))
        rows = [Row(image, 0, Half.COND) for image in range(len(written))]

        def see_both(name: str, x: Tensor) -> None:
            see(name, x[: len(learned)], False)  # noqa: FBT003 - of a callable
            if held:
                see(name, x[len(learned) :], True)  # noqa: FBT003

        with self._watching(watched, see_both):
            for call, timestep in enumerate(sampler.calls):
                denoiser = EmbeddedDenoiser(self.model, EncodedTexts({}), timestep)
                predicted = denoiser.predict(sampler.z_of(latent, call), rows, condition)
                latent = sampler.step(predicted, latent, call)
                self._on_step()

    # -- hooks ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def _changed(self, active: Mapping[str, LayerDelta]) -> Generator[None, None, None]:
        """While inside, layers have these deltas."""

        def hook_for(delta: Delta) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
            return lambda layer, args, output: output + delta(layer, args[0]).to(output.dtype)

        with ExitStack() as stack:
            for name, delta in active.items():
                there = _as_delta(delta).to(self.model.device, self.model.dtype)
                stack.callback(self.modules[name].register_forward_hook(hook_for(there)).remove)
            yield

    @contextmanager
    def _watching(self, watched: Collection[str], see: Callable[[str, Tensor], None]) -> Generator[None, None, None]:
        """While inside, ``see`` is told of the inputs of layers."""

        def hook_for(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
            return lambda _, args: see(name, args[0])

        with ExitStack() as stack:
            for name in watched:
                stack.callback(self.modules[name].register_forward_pre_hook(hook_for(name)).remove)
            yield


def _as_delta(delta: LayerDelta) -> Delta:
    if isinstance(delta, FactoredDelta):
        return LowRank(delta.down, delta.up, 1.0)
    return DenseDelta(delta.matrix, delta.bias)
