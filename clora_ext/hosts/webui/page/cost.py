"""What a job costs beside a plain one: UNet rows, memory, and seconds as the last pictures took them."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from clora_ext.engine import device
from clora_ext.engine.estimate import Estimate, estimate
from clora_ext.engine.memory import GIB, extra_bytes, plain_bytes, room_bytes, row_bytes
from clora_ext.engine.prepare import Prepared
from clora_ext.hosts.webui.page.chosen import Sampling
from clora_ext.hosts.webui.page.pace import PACE, Load, in_words
from clora_ext.hosts.webui.page.source import PageSource
from clora_ext.settings.knobs import Settings


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate, and the memory in bytes beyond a plain image's, LoRAs left out; None where nobody can tell."""

    estimate: Estimate
    extra_memory: int | None
    seconds: float | None
    """Of a picture on this machine; None before one was drawn."""
    plain_seconds: float | None
    """The same for a plain one."""
    hires: bool = False
    """Whether another pass follows, which is not in these."""

    @property
    def times(self) -> float:
        """How many times as long as a plain image: as the clock says, else as the work does."""
        if self.seconds is None or self.plain_seconds is None:
            return self.estimate.ratio
        return self.seconds / self.plain_seconds

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        counted = self.estimate
        return {
            "plain_rows": counted.plain_rows,
            "rows": counted.rows,
            "gradient_rows": counted.gradient_rows,
            "ratio": round(counted.ratio, 2),
            "extra_memory_bytes": self.extra_memory,
            "seconds": self.seconds,
            "plain_seconds": self.plain_seconds,
        }

    def in_words(self) -> list[str]:
        """Time and memory."""
        told = [f"about {self.times:.1f} × as long as without CLoRA"]
        if self.seconds is not None:
            long = in_words(self.seconds)
            told.append(f"some {long} a picture before hires. fix" if self.hires else f"some {long} a picture")
        if self.extra_memory is not None:
            told.append(f"{_amount(self.extra_memory)} more")
        return told

    def as_terms(self) -> str:
        """In the field's terms, for a tooltip."""
        counted = self.estimate
        return (
            f"{counted.rows} UNet rows and {counted.gradient_rows} differentiated ones, a plain picture "
            f"{counted.plain_rows}: {counted.ratio:.1f} × the FLOPs"
        )


def cost_of(source: PageSource, prepared: Prepared, sampling: Sampling) -> Cost:
    """What the prepared job costs; a plain image where there is nothing to compose."""
    counted = count_rows(prepared, sampling)
    unet = source.unet()
    if unet is None:
        return Cost(counted, None, None, None, sampling.hires)
    row = row_bytes(unet, (sampling.height // 8, sampling.width // 8))
    replayed = counted.late_rows if source.replays() else 0
    room = _room(unet, row, prepared.settings)
    extra = extra_bytes(row, counted.most_rows, counted.most_gradient_rows, room, replayed)
    model, pixels = source.model_kind(), sampling.width * sampling.height
    seconds = PACE.seconds(Load(model, pixels, counted.work, composed=prepared.composes))
    plain = PACE.seconds(Load(model, pixels, counted.plain_rows, composed=False))
    return Cost(counted, round(extra), seconds, plain, sampling.hires)


def _room(unet: nn.Module, row: float, settings: Settings) -> float | None:
    """Bytes that the engine may take where the UNet is now, None for no bound."""
    free = device.free_bytes(next(unet.parameters()).device)
    return room_bytes(settings.memory, settings.memory_share, plain_bytes(row), free)


def count_rows(prepared: Prepared, sampling: Sampling) -> Estimate:
    """The UNet rows of the prepared job."""
    branches = sorted(prepared.branches[0].texts)
    return estimate(prepared.settings, branches, sampling.steps, sampling.strength, fixed=prepared.all_fixed)


def _amount(memory: int) -> str:
    return f"{memory / GIB:.1f} GiB" if memory >= 0.1 * GIB else f"{memory / 2**20:.0f} MiB"
