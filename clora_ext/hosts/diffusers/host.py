"""The embedded host's port: diffusers' UNet and a text encoder, with LoRAs from files."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from clora_ext.batch.conditions import Condition
from clora_ext.batch.context import Forward, ForwardContext
from clora_ext.batch.plan import Columns
from clora_ext.batch.rows import BranchLoras, Half, Row
from clora_ext.engine import device
from clora_ext.engine.branches import ActiveLora, Branches
from clora_ext.engine.port import TextForms
from clora_ext.engine.report import StepReport
from clora_ext.hosts.diffusers import texts
from clora_ext.hosts.diffusers.checkpoint import Model
from clora_ext.hosts.diffusers.library import Library
from clora_ext.lora.deltas import Delta
from clora_ext.lora.files import text_deltas, unet_deltas
from clora_ext.lora.routing import Deltas, counting_calls, layer_deltas, loras_on_rows
from clora_ext.prompt import LoraFacts, Span

Key = tuple[int, Half]
"""A branch and a half of guidance."""


class EncodedTexts:
    """The condition of every branch and half, the same for all images and steps."""

    def __init__(self, found: Mapping[Key, Condition]) -> None:
        self._found = found

    def at(self, rows: Sequence[Row], call: int) -> Mapping[Row, Condition]:
        """The condition of every row."""
        return {row: self._found[row.branch, row.half] for row in rows}


class EmbeddedHost:
    """Meets ``engine.port.Host`` for pictures with one prompt; ``on_step`` is told of every step that is over."""

    adds_everywhere = False

    def __init__(
        self, model: Model, library: Library, negative: str, on_step: Callable[[StepReport], None] | None = None
    ) -> None:
        self.model = model
        self.library = library
        self.negative = negative
        self._on_step = on_step
        self._tokens = cache(lambda text: texts.tokenize(model, text))

    @property
    def unet(self) -> nn.Module:
        """The model's UNet."""
        return self.model.unet

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    def facts(self, lora: str) -> LoraFacts:
        """From the LoRA's metadata."""
        return self.library.facts(lora)

    def text_forms(self, text: str) -> TextForms:
        """Texts are not edited while sampling."""
        return [(sys.maxsize, text)]

    def columns(self, text: str, form: str, spans: Sequence[Span]) -> Columns:
        """The columns of the tokens that overlap ``spans``."""
        return self._tokens(text).columns(spans)

    def encode(self, branches: Sequence[Branches]) -> EncodedTexts:
        """All branches and halves of the one prompt, in one call of the text encoder."""
        own = branches[0]
        keys = [(branch, half) for branch in own.texts for half in Half]
        tokens = [self._tokens(own.texts[branch] if half is Half.COND else self.negative) for branch, half in keys]
        rows: list[Row] = []
        for key, text in zip(keys, tokens, strict=True):
            rows.extend([Row(0, *key)] * len(text.ids))
        active = {branch: [lora.key for lora in loras] for branch, loras in own.text_loras.items()}
        context = ForwardContext(BranchLoras(active))
        encoder = self.model.text_encoder
        layers = layer_deltas(self._text_deltas(own), self.device, self.model.dtype)
        with counting_calls(encoder, context), loras_on_rows(layers, context), context.running(Forward(tuple(rows))):
            encoded = texts.encode_tokens(self.model, tokens)
        return EncodedTexts({key: Condition(found) for key, found in zip(keys, encoded, strict=True)})

    def _text_deltas(self, branches: Branches) -> Deltas:
        found: dict[str, Mapping[nn.Module, Delta]] = {}
        for loras in branches.text_loras.values():
            for lora in loras:
                if lora.key not in found:
                    file = self.library.file(lora.name)
                    found[lora.key] = text_deltas(file, [self.model.text_encoder], lora.te)
        return found

    def deltas(self, loras: Sequence[ActiveLora]) -> Deltas:
        """From the LoRAs' files."""
        return {lora.key: unet_deltas(self.library.file(lora.name), self.unet, lora.unet) for lora in loras}

    def check_interrupt(self) -> None:
        """Nothing to ask: Python raises KeyboardInterrupt by itself."""

    def show_progress(self, step: StepReport) -> None:
        """Tell who wants to know."""
        if self._on_step is not None:
            self._on_step(step)

    def free_bytes(self) -> float | None:
        """What torch tells of the device."""
        return device.free_bytes(self.device)


class EmbeddedDenoiser:
    """Meets ``engine.port.Denoiser`` at one timestep; predicts the noise."""

    def __init__(self, model: Model, encoded: EncodedTexts, timestep: int) -> None:
        self.model = model
        self.encoded = encoded
        self.timestep = timestep

    def conditions(self, rows: Sequence[Row]) -> Sequence[Condition]:
        """Of every row."""
        found = self.encoded.at(rows, 0)
        return [found[row] for row in rows]

    def predict(self, latent: Tensor, rows: Sequence[Row], condition: Condition) -> Tensor:
        """The predicted noise of every row."""
        samples = latent[[row.image for row in rows]].to(self.model.dtype)
        found: Tensor = self.model.unet(samples, self.timestep, encoder_hidden_states=condition.tokens).sample
        return found.to(latent.dtype)
