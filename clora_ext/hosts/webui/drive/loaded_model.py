"""Which checkpoint the host has loaded."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from modules import shared
from safetensors import safe_open
from torch import nn

from clora_ext.hosts.webui.drive.families import loaded_family, predicts_velocity


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint; two are equal if nothing was loaded in between."""

    unet: nn.Module = field(repr=False)
    """Loading another checkpoint may make a new one, or give this one other weights."""
    name: str
    family: str | None

    @classmethod
    def now(cls) -> "LoadedCheckpoint":
        """What is loaded now."""
        model = shared.sd_model
        return cls(model.model.diffusion_model, model.sd_checkpoint_info.name_for_extra, loaded_family(model))

    @property
    def draws_alone(self) -> str:
        """What is said where the host has changed to a model that can not be composed on."""
        return f"the model changed to {self.name}, which draws on by itself"


def doubts(sampler: str) -> Iterator[str]:
    """What the host itself does not do right with the loaded checkpoint: notes for the job."""
    model = shared.sd_model
    if predicts_velocity(model) and sampler == "LCM":
        yield "WebUI's LCM does not know v-prediction, which this checkpoint has; choose another sampler"
    if not predicts_velocity(model) and _is_marked_v(Path(model.sd_checkpoint_info.filename)):
        yield (
            "this checkpoint's file says that it predicts v, but WebUI loaded it as one that predicts noise; put a "
            "yaml with v-prediction beside it, and choose the noise schedule “Zero Terminal SNR” if it was trained so"
        )


@lru_cache(maxsize=8)
def _is_marked_v(path: Path) -> bool:
    """Whether the file has the key ``v_pred``, by which NoobAI and others mark it; WebUI 1.10.1 ignores that."""
    if path.suffix != ".safetensors":
        return False
    with safe_open(path, "pt") as file:
        return "v_pred" in file.keys()  # noqa: SIM118 - no mapping
