"""What a job will cost, counted with the engine's own schedule and layout before anything is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clora_ext.core.rows import Half
from clora_ext.core.schedule import Moment, position, updates
from clora_ext.engine.layout import differentiated, drawing, routes
from clora_ext.settings import Settings

DIFFERENTIATED = 2.0
"""A differentiated row in plain ones: forward and backward to the last map that is needed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """UNet rows of one image; ``ratio`` is their cost to that of a plain image."""

    plain_rows: int
    rows: int
    gradient_rows: int
    most_rows: int
    """The most that a step predicts."""
    most_gradient_rows: int
    """The most that an update differentiates."""

    @property
    def ratio(self) -> float:
        """Cost in UNet time, 1 for a plain image."""
        return (self.rows + DIFFERENTIATED * self.gradient_rows) / max(self.plain_rows, 1)


def estimate(settings: Settings, worn: Mapping[int, Sequence[str]], steps: int) -> Estimate:
    """Count ``steps`` steps, taken at evenly spaced noise levels; ``worn`` has the LoRAs of every branch.

    Masks are taken to be locked at the last moment, ``lock_at``; steady ones are locked earlier.
    """
    rows = gradients = most_rows = most_gradients = 0
    before: float | None = None
    seen = False
    for index in range(steps):
        here = position(Moment(index, steps, 1.0 - index / steps), settings["count_by"])
        locked = before is not None and 0.0 < settings["lock_at"] <= before
        routed = seen and routes(settings, locked=locked)
        made = updates(here, before, settings["update_until"], settings.rounds_at, settings["rounds"])
        if settings.method != "clora" or len(worn) < 3 or (routed and settings["compose_by"] == "branches"):
            made = 0
        compared = differentiated(settings, tuple(worn), 0, routed=routed)
        seen = settings.masked and (seen or made > 0)
        routed = seen and routes(settings, locked=locked)
        drawn = drawing(settings, tuple(worn), index, routed=routed, divided=seen)
        wanted = {row for half in Half for row in drawn.rows(0, half)}
        kept = wanted.intersection(compared) if made and not settings["refresh"] else set()
        gradients += made * len(compared)
        rows += len(wanted) - len(kept)
        most_rows = max(most_rows, len(wanted) - len(kept))
        most_gradients = max(most_gradients, len(compared) if made else 0)
        before, seen = here, settings.masked
    return Estimate(2 * steps, rows, gradients, most_rows, most_gradients)
