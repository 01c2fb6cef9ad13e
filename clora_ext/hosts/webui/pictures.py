"""Masks and attention as pictures: laid over the image with a legend, and as plain grey PNGs."""

import base64
import io
from collections.abc import Sequence

import torch
from modules.images import get_font
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#f0e442")
"""Told apart by colour-blind eyes as well (Okabe and Ito); repeated after seven."""

STYLE = "#999999"
"""A style has no mask of its own."""


def colour(index: int) -> str:
    """The colour of subject ``index``, in the panel as in the masks."""
    return COLOURS[index % len(COLOURS)]


def grey(share: Tensor, size: tuple[int, int]) -> Image.Image:
    """One branch's share [height, width] in 0..1 as a grey picture of ``size`` (width, height)."""
    pixels = (share.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def sheet(
    image: Image.Image, weights: Tensor, maps: Tensor, names: Sequence[str], colours: Sequence[str]
) -> Image.Image:
    """Side by side over the greyed ``image``: who draws what, and each subject's attention.

    ``weights`` are shares [branch, height, width] in 0..1, base first, ``maps`` attention [subject, height, width] of
    any scale. A legend with ``names`` stands below.
    """
    below = image.convert("L").convert("RGB")
    masks = below.copy()
    for share, hue in zip(weights[1:], colours, strict=True):
        mask = grey(share, image.size).point(lambda value: value * 150 // 255)
        masks.paste(Image.new("RGB", image.size, hue), mask=mask)
    parts = [masks, *(heat(below, found, hue) for found, hue in zip(maps, colours, strict=False))]
    whole = Image.new("RGB", (image.width * len(parts), image.height))
    for place, part in enumerate(parts):
        whole.paste(part, (place * image.width, 0))
    return _with_legend(whole, names, colours, max(10, image.width // 32))


def peaked(attention: Tensor) -> Tensor:
    """A map [height, width] as shares of its peak."""
    return attention / attention.max().clamp_min(1e-12)


def heat(below: Image.Image, attention: Tensor, hue: str) -> Image.Image:
    """A map [height, width] from black over ``hue`` to white at its peak, with the picture shining through."""
    size = below.size
    lit = ImageOps.colorize(grey(peaked(attention), size), black="black", mid=hue, white="white")
    return Image.blend(below, lit, 0.7)


def _with_legend(image: Image.Image, names: Sequence[str], colours: Sequence[str], text: int) -> Image.Image:
    line = text * 3 // 2
    paper = Image.new("RGB", (image.width, image.height + line * len(names)), "white")
    paper.paste(image)
    pen, font = ImageDraw.Draw(paper), get_font(text)
    for index, (name, hue) in enumerate(zip(names, colours, strict=True)):
        top = image.height + index * line
        pen.rectangle((line // 4, top + line // 4, line * 3 // 4, top + line * 3 // 4), fill=hue)
        pen.text((line, top + line // 2), _printable(name), fill="black", font=font, anchor="lm")
    return paper


def _printable(name: str) -> str:
    """A name on one line, whatever somebody called a file."""
    short = "".join(sign if sign.isprintable() else " " for sign in name)
    return short if len(short) <= 60 else short[:59] + "…"


def png(image: Image.Image) -> str:
    """A picture as base64 of its PNG."""
    kept = io.BytesIO()
    image.save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode("ascii")
