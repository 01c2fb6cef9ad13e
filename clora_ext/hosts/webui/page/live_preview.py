"""Masks beside the live preview, as they form; only where the settings page asks for them."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
from modules import shared
from modules.images import image_grid
from PIL import Image, ImageColor
from torch import Tensor

from clora_ext.hosts.webui.options import option
from clora_ext.hosts.webui.page.overlays import colour_of
from clora_ext.patching import Function, replaced


@contextmanager
def masks_in_preview(regions: Callable[[], Sequence[Tensor]]) -> Generator[None, None, None]:
    """While inside, every preview that the host makes has who draws what beside it (modules/shared_state.py).

    ``regions`` gives the latest region masks [branch, height, width] of every image of the batch, base first; as long
    as there are none, previews are the host's own. Nothing is touched unless the setting is on.
    """
    if not option("preview_masks"):
        yield
        return

    def with_masks(assign: Function) -> Function:
        def assign_with_masks(image: Image.Image) -> None:
            found = regions()
            shown = found if shared.opts.show_progress_grid else found[:1]
            assign(beside(image, shown) if shown else image)

        return assign_with_masks

    with replaced(shared.state, "assign_current_image", with_masks):
        yield


def beside(preview: Image.Image, regions: Sequence[Tensor]) -> Image.Image:
    """``preview`` and, to its right, itself in grey under every subject's mask in the subject's colour.

    A preview of several pictures is the host's grid of them, and the masks are laid out by the same grid.
    """
    hues = _grid([_colours(found) for found in regions]).resize(preview.size, Image.Resampling.NEAREST)
    shares = _grid([_cover(found) for found in regions]).resize(preview.size, Image.Resampling.NEAREST)
    right = preview.convert("L").convert("RGB")
    right.paste(hues, mask=shares.convert("L"))
    whole = Image.new("RGB", (2 * preview.width, preview.height))
    whole.paste(preview.convert("RGB"), (0, 0))
    whole.paste(right, (preview.width, 0))
    return whole


def _subjects(regions: Tensor) -> Tensor:
    """The subjects' masks [subject, height, width] in 0..1."""
    return regions[1:].float().clamp(0.0, 1.0)


def _colours(regions: Tensor) -> Image.Image:
    """Every pixel in the mixed colours of the subjects that it belongs to."""
    subjects = _subjects(regions)
    rgb = [ImageColor.getrgb(colour_of(subject)) for subject in range(len(subjects))]
    colours = torch.tensor(rgb, dtype=torch.float32)
    covered = subjects.sum(dim=0).clamp(min=1e-6)
    mixed = torch.einsum("khw,kc->hwc", subjects, colours) / covered[..., None]
    return _picture(mixed, 255.0)


def _cover(regions: Tensor) -> Image.Image:
    """How much of every pixel belongs to subjects, as the grey of a mask."""
    covered = _subjects(regions).sum(dim=0)
    return _picture(150.0 * covered, 150.0)


def _picture(levels: Tensor, most: float) -> Image.Image:
    pixels = levels.round().clamp(0.0, most).to(torch.uint8)
    return Image.fromarray(pixels.numpy())


def _grid(tiles: Sequence[Image.Image]) -> Image.Image:
    """The host's grid of several pictures, which is RGB; a single picture as it is."""
    return tiles[0] if len(tiles) == 1 else image_grid(tiles)
