"""The host's ways to save time that join or cut up pixels which are drawn by different LoRAs."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from modules import sd_models, shared

TILED = "__webui_hypertile_params"
"""Where hypertile keeps what it does to a layer (extensions-builtin/hypertile/hypertile.py)."""


@contextmanager
def shortcuts_off() -> Generator[list[str], None, None]:
    """While inside, token merging and hypertile are off in the UNet; gives notes of what was switched off."""
    model = shared.sd_model
    ratio = getattr(model, "applied_token_merged_ratio", 0)
    tiled = [found for found in _tiles(model.model) if found.enabled]
    notes = ["token merging is off while LoRAs are drawn inside masks"] if ratio else []
    notes += ["hypertile is off while LoRAs are drawn inside masks"] if tiled else []
    sd_models.apply_token_merging(model, 0)
    for found in tiled:
        found.enabled = False
    try:
        yield notes
    finally:
        for found in tiled:
            found.enabled = True
        sd_models.apply_token_merging(model, ratio)


def _tiles(model: Any) -> list[Any]:
    parts = [getattr(layer, TILED, None) for layer in model.modules()]
    return [part for part in parts if part is not None]
