"""Knobs that were: old infotexts, presets and scripts still name them. They are read, told and ignored."""

from collections.abc import Mapping

RETIRED: Mapping[str, str] = {
    "refresh": "predictions are always those of the gradient pass",
    "rounds_enough": "all extra rounds are made",
    "gradient_row": "the routed row is differentiated once there is one",
    "smoothing": "maps are not smoothed",
    "mask_edges": "masks are enlarged by the nearest pixel",
    "lock_as": "locked masks are the mean of the last three",
    "mask_from": "masks are used as soon as there are any",
    "route_from": "the row is routed as soon as there are masks",
}
"""Name -> what happens now."""


def is_retired(name: str) -> bool:
    """Whether ``name`` was a knob once."""
    return name in RETIRED


def retired_note(name: str) -> str:
    """A sentence for the user about a retired knob that was asked for."""
    return f"“{name}” is no setting any more and was ignored: {RETIRED[name]}."
