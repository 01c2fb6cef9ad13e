"""Masks beside the live preview, as they form; only where the settings page asks for them."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from modules import shared
from modules.images import image_grid
from PIL import Image, ImageColor
from torch import Tensor

from clora_ext.hosts.webui.options import option
from clora_ext.hosts.webui.pictures import colour


@contextmanager
def masks_in_preview(weights: Callable[[], Sequence[Tensor]]) -> Generator[None, None, None]:
    """While inside, every preview that the host makes has who draws what beside it (modules/shared_state.py).

    ``weights`` gives the latest shares [branch, height, width] of every image of the batch, base first; as long as
    there are none, previews are the host's own. Nothing is touched unless the setting is on.
    """
    if not option("preview_masks"):
        yield
        return
    state = shared.state
    own: dict[str, Any] = {key: value for key, value in vars(state).items() if key == "assign_current_image"}
    assign = state.assign_current_image

    def assign_with_masks(image: Image.Image) -> None:
        found = weights()
        assign(beside(image, found if shared.opts.show_progress_grid else found[:1]) if found else image)

    state.assign_current_image = assign_with_masks
    try:
        yield
    finally:
        vars(state).pop("assign_current_image")
        vars(state).update(own)


def beside(preview: Image.Image, weights: Sequence[Tensor]) -> Image.Image:
    """``preview`` and, to its right, itself in grey under every subject's share in the subject's colour.

    A preview of several pictures is the host's grid of them, and the masks are laid out by the same grid.
    """
    hues, shares = (_grid(tiles).resize(preview.size, Image.Resampling.NEAREST) for tiles in _tiles(weights))
    right = preview.convert("L").convert("RGB")
    right.paste(hues, mask=shares.convert("L"))
    whole = Image.new("RGB", (2 * preview.width, preview.height))
    whole.paste(preview.convert("RGB"), (0, 0))
    whole.paste(right, (preview.width, 0))
    return whole


def _tiles(several: Sequence[Tensor]) -> tuple[list[Image.Image], list[Image.Image]]:
    """Every picture's shares [branch, height, width] as colours, and as how much of a pixel belongs to subjects."""
    hues: list[Image.Image] = []
    shares: list[Image.Image] = []
    for weights in several:
        subjects = weights[1:].float().clamp(0.0, 1.0)
        colours = torch.tensor([ImageColor.getrgb(colour(k)) for k in range(len(subjects))], dtype=torch.float32)
        covered = subjects.sum(dim=0)
        mixed = torch.einsum("khw,kc->hwc", subjects, colours) / covered.clamp(min=1e-6)[..., None]
        hues.append(Image.fromarray(mixed.round().clamp(0.0, 255.0).to(torch.uint8).numpy()))
        shares.append(Image.fromarray((150.0 * covered).round().clamp(0.0, 150.0).to(torch.uint8).numpy()))
    return hues, shares


def _grid(tiles: Sequence[Image.Image]) -> Image.Image:
    return tiles[0] if len(tiles) == 1 else image_grid(tiles)  # the host's grid is RGB


__all__ = ["beside", "masks_in_preview"]
