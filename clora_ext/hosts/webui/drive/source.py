"""What the page asks of this host."""

from collections.abc import Sequence

from modules import devices, sd_models
from torch import nn

from clora_ext.errors import CLoRAError
from clora_ext.hosts.webui.drive import catalogue, neighbours, obstacles, own_networks, reading, tokens
from clora_ext.hosts.webui.drive.families import model_kind
from clora_ext.hosts.webui.options import option
from clora_ext.prompt import Binding, LoraFacts
from clora_ext.settings.knobs import Settings


class WebUISource:
    """Meets ``page.source.PageSource``; loads no checkpoint."""

    def as_job_reads(self, prompt: str, styles: Sequence[str]) -> str:
        """With styles, without comments, and with the LoRA that the host adds."""
        return reading.as_job_reads(prompt, styles)

    def added_by_host(self, prompt: str, bindings: Sequence[Binding]) -> Sequence[Binding]:
        """By its setting “Add network to prompt”."""
        return reading.added_by_host(prompt, bindings)

    def hidden_loras(self, prompt: str, read: str) -> Sequence[str]:
        """Those in a comment."""
        return reading.hidden_loras(prompt, read)

    def drawn_later(self, prompt: str) -> str | None:
        """By Dynamic Prompts and the like."""
        return reading.drawn_later(prompt)

    def facts(self, lora: str) -> LoraFacts:
        """From the files that the host knows, and those that came since."""
        return catalogue.lora_facts(lora, refresh=False)

    def misfit(self, lora: str) -> str | None:
        """By the LoRA's own metadata, and by its file's header: is it whole, and for the loaded kind of model?"""
        return catalogue.misfit(lora) or own_networks.fault(lora)

    def word_columns(self, text: str, words: Sequence[str]) -> list[list[int] | None] | None:
        """By the host's chunker."""
        if sd_models.model_data.sd_model is None:
            return None
        return tokens.columns_of_words(text, words)

    def adapted(self, settings: Settings, sampler: str, *, hires: bool) -> tuple[Settings, list[str]]:
        """By the sampler's traits."""
        return obstacles.adapted(settings, sampler, hires=hires)

    def obstacles(self, texts: Sequence[str]) -> Sequence[CLoRAError]:
        """Of the loaded checkpoint, and of extensions that read LoRA tags by themselves."""
        if sd_models.model_data.sd_model is None:
            return ()
        found: list[CLoRAError] = list(obstacles.obstacles())
        try:
            neighbours.require_own_tags(texts)
        except CLoRAError as error:
            found.append(error)
        return found

    def model_kind(self) -> str:
        """By the host's own marks."""
        return model_kind(sd_models.model_data.sd_model)

    def unet(self) -> nn.Module | None:
        """Of the checkpoint that is loaded now."""
        model = getattr(sd_models.model_data.sd_model, "model", None)
        return getattr(model, "diffusion_model", None)

    def replays(self) -> bool:
        """By the settings page, where there is a GPU that can."""
        return bool(option("replay")) and devices.device.type == "cuda"
