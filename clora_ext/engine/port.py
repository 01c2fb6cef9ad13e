"""What the engine asks of a host: a new host is these two and its page."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from clora_ext.batch.conditions import Condition
from clora_ext.batch.plan import Columns
from clora_ext.batch.rows import Row
from clora_ext.core.shapes import Latent, RowPredictions
from clora_ext.engine.branches import ActiveLora, Branches
from clora_ext.engine.report import StepReport
from clora_ext.lora.routing import Deltas
from clora_ext.prompt import LoraFacts, Span

TextForms = Sequence[tuple[int, str]]
"""The forms that a text takes while sampling, each with the last model call at which it stands (prompt editing)."""


@runtime_checkable
class Conditions(Protocol):
    """The encoded texts of a job."""

    def at(self, rows: Sequence[Row], call: int) -> Mapping[Row, Condition]:
        """The condition of every row at a model call; rows that the host encodes by itself may be missing."""
        ...


Encoded_co = TypeVar("Encoded_co", bound=Conditions, covariant=True)


@runtime_checkable
class Denoiser(Protocol):
    """The diffusion model at one sampling point."""

    def conditions(self, rows: Sequence[Row]) -> Sequence[Condition]:
        """Each row's own condition, unpadded; a routed row has its branch's."""
        ...

    def predict(self, latent: Latent, rows: Sequence[Row], condition: Condition) -> RowPredictions:
        """One call of the UNet, row by row on ``latent[row.image]`` with the rows' stacked texts.

        ``latent`` [image, channel, y, x] is the variance preserving z; gradients flow back to it. The predictions [row,
        channel, y, x] are of the kind that ``Composition.after`` is given: noise, velocity or denoised latent is the
        host's business.
        """
        ...


@runtime_checkable
class Host(Protocol[Encoded_co]):
    """A program that draws; ``Encoded_co`` is its own kind of ``Conditions``."""

    @property
    def unet(self) -> nn.Module:
        """The UNet that ``Denoiser.predict`` calls."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def adds_everywhere(self) -> bool:
        """Whether it adds the LoRAs of the whole picture to all rows by itself; else they are part of every branch."""
        ...

    def facts(self, lora: str) -> LoraFacts:
        """What binding wants to know of a LoRA. Raises ``LoraError`` when there is none of that name."""
        ...

    def text_forms(self, text: str) -> TextForms:
        """The forms that ``text`` takes while sampling; one for a text that is not edited."""
        ...

    def columns(self, text: str, form: str, spans: Sequence[Span]) -> Columns:
        """The token columns, in ``form``, of the words at the character ``spans`` of ``text``.

        Raises ``PromptError`` when a word is not there.
        """
        ...

    def encode(self, branches: Sequence[Branches]) -> Encoded_co:
        """Encode every branch's texts, one ``Branches`` per image, with the branch's LoRAs in the text encoders."""
        ...

    def deltas(self, loras: Sequence[ActiveLora]) -> Deltas:
        """What each LoRA changes in the UNet's layers, by its key. Raises ``LoraError`` for one that does not fit."""
        ...

    def check_interrupt(self) -> None:
        """Raise what ends a run in this host when the user wants it to end."""
        ...

    def show_progress(self, step: StepReport) -> None:
        """A step is over."""
        ...

    def free_bytes(self) -> float | None:
        """Bytes that are free on ``device``; None where nobody can tell."""
        ...
