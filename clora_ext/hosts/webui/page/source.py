"""What the page asks of the wing that drives the denoiser, so that it can serve another host."""

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from clora_ext.errors import CLoRAError
from clora_ext.prompt import Binding, LoraFacts
from clora_ext.settings.knobs import Settings


class PageSource(Protocol):
    """Facts of the host that are told before anything is drawn."""

    def as_job_reads(self, prompt: str, styles: Sequence[str]) -> str:
        """What a job makes of ``prompt`` and the names of ``styles`` before it is bound."""
        ...

    def added_by_host(self, prompt: str, bindings: Sequence[Binding]) -> Sequence[Binding]:
        """Bindings of LoRAs that the host has added to ``prompt`` by itself."""
        ...

    def hidden_loras(self, prompt: str, read: str) -> Sequence[str]:
        """The LoRAs in ``prompt`` that are not in what was ``read`` of it."""
        ...

    def drawn_later(self, prompt: str) -> str | None:
        """The extension that puts other words in parts of ``prompt`` when a job starts; None where there are none."""
        ...

    def facts(self, lora: str) -> LoraFacts:
        """What binding wants to know of a LoRA. Raises ``LoraError`` when there is none of that name."""
        ...

    def misfit(self, lora: str) -> str | None:
        """A sentence where a LoRA was made for another kind of model than the loaded one; else None."""
        ...

    def word_columns(self, text: str, words: Sequence[str]) -> list[list[int] | None] | None:
        """The token columns of ``words``, which follow each other in ``text``, at the first step.

        None for a word that is not there then; None for all where no checkpoint is loaded.
        """
        ...

    def adapted(self, settings: Settings, sampler: str, *, hires: bool) -> tuple[Settings, list[str]]:
        """The settings that a pass with ``sampler`` is drawn with, and a note for everything that had to change."""
        ...

    def obstacles(self, texts: Sequence[str]) -> Sequence[CLoRAError]:
        """What a job with these prompts can not be composed with now, as far as the host tells without drawing."""
        ...

    def model_kind(self) -> str:
        """What the loaded checkpoint is and how it is run, without its name."""
        ...

    def unet(self) -> nn.Module | None:
        """Of the loaded checkpoint; None where none is."""
        ...

    def replays(self) -> bool:
        """Whether late steps of a job are replayed, which takes memory."""
        ...
