"""Which checkpoint the host has loaded."""

from dataclasses import dataclass, field

from modules import shared
from torch import nn

from clora_ext.hosts.webui.drive.model_kind import loaded_kind


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint; two are equal if nothing was loaded in between."""

    unet: nn.Module = field(repr=False)
    """Loading another checkpoint may make a new one, or give this one other weights."""
    name: str
    kind: str | None

    @classmethod
    def now(cls) -> "LoadedModel":
        """What is loaded now."""
        model = shared.sd_model
        return cls(model.model.diffusion_model, model.sd_checkpoint_info.name_for_extra, loaded_kind(model))

    @property
    def draws_alone(self) -> str:
        """What is said where the host has changed to a model that can not be composed on."""
        return f"the model changed to {self.name}, which draws on by itself"
