"""What the page asks of the wing that drives the denoiser, so that it can serve another host."""

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from clora_ext.prompt import LoraFacts


class PageSource(Protocol):
    """Facts of the host that are told before anything is drawn."""

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

    def unet(self) -> nn.Module | None:
        """Of the loaded checkpoint; None where none is."""
        ...
