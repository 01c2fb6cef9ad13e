"""How long pictures take on this machine, learnt from the last ones."""

import math
import time
from collections import deque
from dataclasses import dataclass

REMEMBERED = 50
"""Jobs that are remembered."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a picture asks of the machine."""

    model: str
    """The kind of model, in words."""
    pixels: int
    work: float
    """In UNet rows of this size."""
    composed: bool

    @property
    def total(self) -> float:
        """Work of all sizes on one scale."""
        return self.work * self.pixels


class Pace:
    """Seconds by load. A job is told when it begins and ends; nothing is written on it."""

    def __init__(self) -> None:
        self._begun: tuple[int, float] = (0, 0.0)
        self._known: deque[tuple[Load, float]] = deque(maxlen=REMEMBERED)

    def begin(self, job: object) -> None:
        """The clock starts for ``job``."""
        self._begun = (id(job), time.perf_counter())

    def seconds_of(self, job: object) -> float | None:
        """Since ``job`` began; None where another one has begun after it."""
        begun, at = self._begun
        return time.perf_counter() - at if begun == id(job) else None

    def keep(self, load: Load, seconds: float) -> None:
        """A picture of ``load`` took so long."""
        self._known.appendleft((load, seconds))

    def seconds(self, wanted: Load) -> float | None:
        """What a picture of ``wanted`` will take, by the last one like it, of the nearest size; None before any."""
        like = [each for each in self._known if each[0].model == wanted.model and each[0].composed == wanted.composed]
        if not like:
            return None
        load, seconds = min(like, key=lambda each: abs(math.log(each[0].pixels / wanted.pixels)))
        return seconds * wanted.total / load.total


PACE = Pace()


def in_words(seconds: float) -> str:
    """As people say it."""
    if seconds < 1.0:
        return "less than 1 s"
    return f"{seconds:.0f} s" if seconds < 90.0 else f"{seconds / 60.0:.0f} min"
