"""The texts that a merge learns from."""

from dataclasses import dataclass

_PICTURED = (
    *("a photo of a {}", "{}", "a {} on the beach", "a {} in the snow", "a painting of a {} at night"),
    *("the {}, close", "in a garden, a {}", "a drawing of a {} in the desert", "a {} in a house"),
    *("a photo of a {} in a forest", "at sea, a {}", "a {} under the sky", "in the mountains, a {}"),
    *("a sketch of a {} on a street", "a {} by day", "a picture of a {} in a room"),
)


@dataclass(frozen=True, slots=True)
class Prompts:
    """What is drawn with each LoRA, "{}" standing for its trigger; what is ``held`` out only judges."""

    learned: tuple[str, ...]
    held: tuple[str, ...] = ()
    drawn: int = 1
    """How many of either are drawn as pictures, the first ones; the others are texts only."""
    pictured: tuple[str, ...] = _PICTURED
    """Of pictures that teach all layers together; each is drawn twice."""
    concept_alone: bool = False
    """Whether a text's vectors count at the trigger and the end only, and those behind the end nowhere."""


PROMPTS = Prompts(
    ("a photo of a {}", "{}", "a {} on the beach", "a {} in the snow", "a painting of a {} at night", "the {}, close"),
    ("a {} in the grass", "a picture of a {} in a city"),
)
"""Ours."""
AS_RELEASED = Prompts(("photo of a {}", "{}"), concept_alone=True)
"""The released code's (TEMPLATE_SIMPLE in its weight_fusion.py)."""


def filled(prompt: str, trigger: str) -> str:
    """The prompt with the trigger in its place, without spaces that are left over."""
    return " ".join(prompt.replace("{}", trigger).split())
