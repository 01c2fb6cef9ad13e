"""What happened, for people, tests and benches."""

from dataclasses import asdict, dataclass, field
from typing import Any

from clora_ext.core.shapes import Maps, RegionMasks


@dataclass(frozen=True, slots=True)
class StepReport:
    """One denoising step."""

    index: int
    position: float
    """On the scale of the settings: percent of the noise schedule, or steps."""
    losses: tuple[float, ...]
    """Loss of each update, summed over images."""
    gradient_rms: tuple[float, ...]
    separation: float | None
    """Mean over images of how far the concepts' maps are apart; None where no update was made."""
    areas: tuple[tuple[float, ...], ...]
    """Per image, the share of the picture that each branch draws, base first."""
    locked: int
    """Images whose masks do not change any more."""
    routed: int
    """Images whose conditional half is one routed row."""
    rows: int
    """UNet rows of the prediction, without those that a gradient pass had predicted already."""
    gradient_rows: int
    """UNet rows that were also differentiated."""
    seconds: float
    notes: tuple[str, ...] = ()
    replayed: bool = False
    """Whether its rows were predicted by a replay."""
    remaining: float = 0.0
    """Seconds that the run will still take, by the steps so far."""


@dataclass
class JobReport:
    """One sampling run."""

    settings: dict[str, Any]
    """Profile, method and every knob as JSON has it."""
    subjects: tuple[str, ...]
    steps: list[StepReport] = field(default_factory=list)
    region_masks: list[RegionMasks] = field(default_factory=list)
    """The last of every image [branch, height, width]: who draws what."""
    maps: list[Maps] = field(default_factory=list)
    """Last cross-attention per image [concept, height, width], of which the masks were made; none before masks."""

    @property
    def rows(self) -> int:
        """All UNet rows, predictions and gradients."""
        return sum(step.rows + step.gradient_rows for step in self.steps)

    @property
    def seconds(self) -> float:
        """Time in the engine and in the UNet calls between its two halves."""
        return sum(step.seconds for step in self.steps)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the steps have to tell, each once."""
        found: dict[str, None] = {}
        for step in self.steps:
            found |= dict.fromkeys(step.notes)
        return tuple(found)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; masks as nested lists of each branch's share, maps of each concept's attention."""
        return {
            "settings": self.settings,
            "subjects": list(self.subjects),
            "steps": [asdict(step) for step in self.steps],
            "masks": [masks.tolist() for masks in self.region_masks],
            "maps": [maps.tolist() for maps in self.maps],
            "unet_rows": self.rows,
            "seconds": self.seconds,
        }
