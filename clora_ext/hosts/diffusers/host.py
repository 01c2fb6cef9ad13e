"""The embedded host's port: diffusers' UNet and a text encoder, with LoRAs from files."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property

import torch
from torch import Tensor, nn

from clora_ext.batch.conditions import Condition, of_images
from clora_ext.batch.context import Forward, ForwardContext
from clora_ext.batch.plan import Columns
from clora_ext.batch.rows import BranchLoras, Half, Row
from clora_ext.core.maps import Grid
from clora_ext.engine import device
from clora_ext.engine.branches import ActiveLora, Branches
from clora_ext.engine.port import TextForms
from clora_ext.engine.report import StepReport
from clora_ext.hosts.diffusers import texts
from clora_ext.hosts.diffusers.architecture import told_by_width
from clora_ext.hosts.diffusers.checkpoint import Model
from clora_ext.hosts.diffusers.library import Library
from clora_ext.lora.deltas import Delta
from clora_ext.lora.files import LoraFile
from clora_ext.lora.layers import deltas_of, require_fit, shapes_of, text_layers, unet_layers
from clora_ext.lora.names import for_encoders
from clora_ext.lora.routing import Deltas, counting_calls, layer_deltas, loras_on_rows
from clora_ext.prompt import LoraFacts, Span

_log = logging.getLogger("clora")
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
    """Meets ``engine.port.Host`` for pictures with one prompt and one ``size``, (height, width) in pixels.

    ``on_step`` is told of every step that is over.
    """

    adds_everywhere = False

    def __init__(
        self,
        model: Model,
        library: Library,
        negative: str,
        size: Grid,
        on_step: Callable[[StepReport], None] | None = None,
    ) -> None:
        self.model = model
        self.library = library
        self.negative = negative
        self.size = size
        self._on_step = on_step
        self._files: dict[str, LoraFile] = {}
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
        """All branches and halves of the one prompt, in one call of each text encoder."""
        own = branches[0]
        keys = [(branch, half) for branch in own.texts for half in Half]
        tokens = [self._tokens(own.texts[branch] if half is Half.COND else self.negative) for branch, half in keys]
        rows: list[Row] = []
        for key, text in zip(keys, tokens, strict=True):
            rows.extend([Row(0, *key)] * len(text.ids))
        active = {branch: [_text_key(lora) for lora in loras] for branch, loras in own.text_loras.items()}
        context = ForwardContext(BranchLoras(active))
        layers = layer_deltas(self._text_deltas(own), self.device, self.model.dtype)
        parts: list[list[texts.TextVectors]] = []
        for encoder in self.model.text_encoders:
            with (
                counting_calls(encoder.network, context),
                loras_on_rows(layers, context),
                context.running(Forward(tuple(rows))),
                torch.no_grad(),
            ):
                parts.append(texts.encode_tokens(encoder, tokens))
        encoded = [texts.side_by_side(each) for each in zip(*parts, strict=True)]
        return EncodedTexts({key: self._condition(key, text) for key, text in zip(keys, encoded, strict=True)})

    def _condition(self, key: Key, text: texts.TextVectors) -> Condition:
        """What the UNet is given; for SDXL, an empty negative prompt is all zeros."""
        found = texts.text_condition(self.model, text, self.size)
        if found.pooled is None or key[1] is Half.COND or self.negative:
            return found
        return replace(found, tokens=found.tokens * 0.0, pooled=found.pooled * 0.0)

    def _file(self, name: str) -> LoraFile:
        """The LoRA's file. Raises ``LoraError`` for one that does not fit the model."""
        if name not in self._files:
            found = self.library.file(name)
            file = replace(found, tensors=for_encoders(found.tensors, len(self.model.text_encoders)))
            words = told_by_width(self.model.unet.config.cross_attention_dim)
            notes = require_fit(file, shapes_of(self._unet_layers | self._text_layers), words)
            if file.embeddings:
                notes += (f"embeddings of LoRA {name} ({', '.join(file.embeddings)}) are read inside WebUI only",)
            for note in notes:
                _log.warning("CLoRA: %s", note)
            self._files[name] = file
        return self._files[name]

    @cached_property
    def _unet_layers(self) -> dict[str, nn.Module]:
        return unet_layers(self.unet, self.model.unet_names)

    @cached_property
    def _text_layers(self) -> dict[str, nn.Module]:
        return text_layers([encoder.network for encoder in self.model.text_encoders])

    def _text_deltas(self, branches: Branches) -> Deltas:
        found: dict[str, Mapping[nn.Module, Delta]] = {}
        for loras in branches.text_loras.values():
            for lora in loras:
                if _text_key(lora) not in found:
                    found[_text_key(lora)] = deltas_of(self._file(lora.name), self._text_layers, lora.te)
        return found

    def deltas(self, loras: Sequence[ActiveLora]) -> Deltas:
        """From the LoRAs' files."""
        return {lora.key: deltas_of(self._file(lora.name), self._unet_layers, lora.unet) for lora in loras}

    def check_interrupt(self) -> None:
        """Nothing to ask: Python raises KeyboardInterrupt by itself."""

    def show_progress(self, step: StepReport) -> None:
        """Tell who wants to know."""
        if self._on_step is not None:
            self._on_step(step)

    def free_bytes(self) -> float | None:
        """What torch tells of the device."""
        return device.free_bytes(self.device)


def _text_key(lora: ActiveLora) -> str:
    """The same for all that change the text encoders alike."""
    return f"{lora.name}@{lora.te:g}"


class EmbeddedDenoiser:
    """Meets ``engine.port.Denoiser`` at one timestep, or one for each row; predicts what the UNet does: noise or v."""

    def __init__(self, model: Model, encoded: EncodedTexts, timestep: float | Tensor) -> None:
        self.model = model
        self.encoded = encoded
        self.timestep = timestep

    def conditions(self, rows: Sequence[Row]) -> Sequence[Condition]:
        """Of every row."""
        found = self.encoded.at(rows, 0)
        return [found[row] for row in rows]

    def predict(self, latent: Tensor, rows: Sequence[Row], condition: Condition) -> Tensor:
        """The UNet's output of every row."""
        samples = of_images(latent, [row.image for row in rows]).to(self.model.dtype)
        added: dict[str, Tensor] = {}
        if condition.pooled is not None and condition.sizes is not None:
            added = {"text_embeds": condition.pooled, "time_ids": condition.sizes}
        timestep = self.timestep
        if not isinstance(timestep, Tensor):
            timestep = torch.full((1,), timestep, device=samples.device)  # a number would be waited for
        output = self.model.unet(
            samples, timestep, encoder_hidden_states=condition.tokens, added_cond_kwargs=added or None
        )
        return output.sample.to(latent.dtype)
