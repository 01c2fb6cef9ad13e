"""What the host's own fields say of a job: numbers that a forecast counts with, and choices that may be in the way."""

from dataclasses import dataclass

STEPS = 20
"""Steps that are counted where nobody says how many: WebUI's default."""

SIZE = (512, 512)
"""Width and height in pixels where nobody says them: WebUI's default."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The host's fields of one job; sizes in pixels."""

    steps: int = STEPS
    width: int = SIZE[0]
    height: int = SIZE[1]
    strength: float = 1.0
    """Denoising strength: the share of the steps that is made, from another image; 1 from pure noise."""
    sampler: str | None = None
    """By its name; None where nobody says which."""
    hires: bool = False
    """Whether there is a second pass, of hires. fix."""
    hires_sampler: str = ""
    """Empty, or as WebUI writes it, for that of the first pass."""
    hires_prompt: str = ""
    """As typed; empty for that of the first pass."""


SAMPLING = Sampling()
