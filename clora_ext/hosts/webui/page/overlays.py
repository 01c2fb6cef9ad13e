"""Masks and attention as pictures: laid over the image with captions and a legend, and by themselves."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#f0e442")
"""Told apart by colour-blind eyes as well (Okabe and Ito); repeated after seven."""

STYLE = "#999999"
"""A style has no mask of its own."""

COVER = 150
"""Of 255: how much of what is below a mask's colour hides."""

SMALLEST_PANE = 256
"""Pixels of its width: a smaller picture is enlarged, so that a caption fits above it."""

TEXTS_IN_WIDTH = 46
"""How often the height of the text fits in the width of a sheet, which the gallery shows at the page's own size."""

Font = Callable[[int], Any]
"""Gives Pillow's font of so many pixels."""


class Named(NamedTuple):
    """A line of the legend."""

    title: str
    colour: str


def colour_of(subject: int) -> str:
    """The colour of a subject by its number, in the panel as in the masks."""
    return COLOURS[subject % len(COLOURS)]


def grey_picture(share: Tensor, size: tuple[int, int] | None = None) -> Image.Image:
    """One branch's mask [height, width] in 0..1 as a grey picture of ``size`` (width, height), by default its own."""
    levels = (share.float().clamp(0.0, 1.0) * 255.0).round()
    picture = Image.fromarray(levels.to(torch.uint8).cpu().numpy())
    return picture if size is None else picture.resize(size, Image.Resampling.NEAREST)


def layer(share: Tensor, hue: str) -> Image.Image:
    """A mask [height, width] in 0..1 as a sheet of colour to lay over a picture, transparent where it is 0."""
    grey = grey_picture(share)
    colour = Image.new("RGBA", grey.size, hue)
    colour.putalpha(grey.point(lambda value: value * COVER // 255))
    return colour


def outline(share: Tensor, size: tuple[int, int]) -> Image.Image:
    """A mask [height, width] in 0..1 as a white area of ``size`` (width, height) on black, with smooth edges."""
    smooth = grey_picture(share).resize(size, Image.Resampling.BICUBIC)
    return smooth.point(lambda value: 255 if value >= 128 else 0)


def peaked(attention: Tensor) -> Tensor:
    """A map [height, width] as shares of its peak."""
    return attention / attention.max().clamp_min(1e-12)


def heat(below: Image.Image, attention: Tensor, hue: str) -> Image.Image:
    """A map [height, width] from black over ``hue`` to white at its peak, with the picture shining through."""
    level = grey_picture(peaked(attention), below.size)
    lit = ImageOps.colorize(level, black="black", mid=hue, white="white")
    return Image.blend(below, lit, 0.7)


def as_png(image: Image.Image) -> str:
    """A picture as base64 of its PNG."""
    kept = io.BytesIO()
    image.save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode("ascii")


# -- the sheet ---------------------------------------------------------------------------------------------------------


def sheet(
    image: Image.Image, regions: Tensor, maps: Sequence[Tensor] | Tensor, subjects: Sequence[str], font: Font
) -> Image.Image:
    """Side by side over the greyed ``image``: who draws what, and each subject's attention, with a caption above each.

    ``regions`` are region masks [branch, height, width] in 0..1, base first, ``maps`` attention [subject, height,
    width] of any scale. ``subjects`` are their titles. ``with_legend`` puts the names of LoRAs below.
    """
    larger = -(-SMALLEST_PANE // image.width)
    below = ImageOps.scale(image.convert("L").convert("RGB"), larger)
    hues = [colour_of(subject) for subject in range(len(subjects))]
    panes = [_masked(below, regions, hues)]
    panes += [heat(below, found, hue) for found, hue in zip(maps, hues, strict=False)]
    captions = ["Who draws what", *(f"Attention of {title}" for title in subjects)]
    text = text_height(below.width * len(panes))
    top = text * 3 // 2
    whole = Image.new("RGB", (below.width * len(panes), top + below.height), "white")
    pen = ImageDraw.Draw(whole)
    for place, (pane, caption) in enumerate(zip(panes, captions, strict=False)):
        left = place * below.width
        whole.paste(pane, (left, top))
        _write(pen, (left + below.width // 2, top // 2), caption, below.width - text, font, text, anchor="mm")
    return whole


def text_height(width: int) -> int:
    """Pixels of the text on a sheet of ``width``."""
    return max(10, width // TEXTS_IN_WIDTH)


def with_legend(image: Image.Image, lines: Sequence[Named], font: Font) -> Image.Image:
    """A sheet with a line below it for each LoRA."""
    text = text_height(image.width)
    line = text * 3 // 2
    paper = Image.new("RGB", (image.width, image.height + line * len(lines) + text // 2), "white")
    paper.paste(image)
    pen = ImageDraw.Draw(paper)
    for index, (name, hue) in enumerate(lines):
        top = image.height + text // 4 + index * line
        swatch = (text // 2, top + text // 4, text * 3 // 2, top + text * 5 // 4)
        pen.rectangle(swatch, fill=hue, outline="black")
        _write(pen, (text * 2, top + line // 2), name, image.width - text * 3, font, text, anchor="lm")
    return paper


def _masked(below: Image.Image, regions: Tensor, colours: Sequence[str]) -> Image.Image:
    """``below`` with every subject's mask in its colour."""
    found = below.copy()
    for share, hue in zip(regions[1:], colours, strict=True):
        sheet_of_colour = layer(share, hue).resize(below.size, Image.Resampling.NEAREST)
        found.paste(sheet_of_colour, mask=sheet_of_colour)
    return found


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], words: str, room: int, font: Font, height: int, anchor: str
) -> None:
    """Write on one line, smaller where there is no room, and cut off where it would get too small."""
    line = "".join(sign if sign.isprintable() else " " for sign in words)
    used = font(height)
    needed = used.getlength(line)
    if needed > room:
        used = font(max(height * 2 // 3, int(height * room / needed)))
    shown = line
    while used.getlength(shown) > room and len(shown) > 1:
        shown = shown[:-2] + "…"
    pen.text(at, shown, fill="black", font=used, anchor=anchor)
