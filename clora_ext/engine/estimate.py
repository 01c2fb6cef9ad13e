"""What a job will cost, counted with the engine's own schedule and layout before anything is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clora_ext.core.schedule import Moment, position, updates
from clora_ext.engine.layout import layout
from clora_ext.settings import Settings

DIFFERENTIATED = 2.0
"""A differentiated row in plain ones: forward and backward to the last map that is needed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """UNet rows of one image; ``ratio`` is their cost to that of a plain image."""

    plain_rows: int
    rows: int
    gradient_rows: int

    @property
    def ratio(self) -> float:
        """Cost in UNet time, 1 for a plain image."""
        return (self.rows + DIFFERENTIATED * self.gradient_rows) / max(self.plain_rows, 1)


def estimate(settings: Settings, worn: Mapping[int, Sequence[str]], steps: int) -> Estimate:
    """Count ``steps`` steps, taken at evenly spaced noise levels; ``worn`` has the LoRAs of every branch."""
    rows = gradients = 0
    before: float | None = None
    for index in range(steps):
        moment = Moment(index, steps, 1.0 - index / steps)
        here = position(moment, settings["count_by"])
        rows += len(layout(settings, 1, worn, index).rows)
        if settings.method == "clora" and len(worn) > 2:
            made = updates(here, before, settings["update_until"], settings.rounds_at, settings["rounds"])
            gradients += made * len(worn) * (1 if settings["maps_from"] == "cond" else 2)
        before = here
    return Estimate(2 * steps, rows, gradients)
