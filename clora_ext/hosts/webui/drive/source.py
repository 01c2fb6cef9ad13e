"""What the page asks of this host."""

from collections.abc import Sequence

from modules import sd_models
from torch import nn

from clora_ext.hosts.webui.drive import catalogue, tokens
from clora_ext.prompt import LoraFacts


class WebUISource:
    """Meets ``page.source.PageSource``; loads no checkpoint and reads no folder again."""

    def facts(self, lora: str) -> LoraFacts:
        """From the files that the host knows."""
        return catalogue.lora_facts(lora, refresh=False)

    def misfit(self, lora: str) -> str | None:
        """By the LoRA's own metadata."""
        return catalogue.misfit(lora)

    def word_columns(self, text: str, words: Sequence[str]) -> list[list[int] | None] | None:
        """By the host's chunker."""
        if sd_models.model_data.sd_model is None:
            return None
        return tokens.columns_of_words(text, words)

    def unet(self) -> nn.Module | None:
        """Of the checkpoint that is loaded now."""
        model = getattr(sd_models.model_data.sd_model, "model", None)
        return getattr(model, "diffusion_model", None)
