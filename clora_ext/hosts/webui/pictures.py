"""Masks as pictures: who draws what, laid over the image with a legend, and as plain grey PNGs."""

import base64
import io
from collections.abc import Sequence

import torch
from modules.images import get_font
from PIL import Image, ImageDraw
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


def overlay(image: Image.Image, weights: Tensor, names: Sequence[str], colours: Sequence[str]) -> Image.Image:
    """``image`` greyed, each subject's share of ``weights`` [branch, height, width] in its colour, base left out.

    A legend with ``names`` stands below the picture.
    """
    shown = image.convert("L").convert("RGB")
    for share, hue in zip(weights[1:], colours, strict=True):
        mask = grey(share, image.size).point(lambda value: value * 150 // 255)
        shown.paste(Image.new("RGB", image.size, hue), mask=mask)
    return _with_legend(shown, names, colours)


def _with_legend(image: Image.Image, names: Sequence[str], colours: Sequence[str]) -> Image.Image:
    text = max(10, image.width // 32)
    line = text * 3 // 2
    sheet = Image.new("RGB", (image.width, image.height + line * len(names)), "white")
    sheet.paste(image)
    pen, font = ImageDraw.Draw(sheet), get_font(text)
    for index, (name, hue) in enumerate(zip(names, colours, strict=True)):
        top = image.height + index * line
        pen.rectangle((line // 4, top + line // 4, line * 3 // 4, top + line * 3 // 4), fill=hue)
        pen.text((line, top + line // 2), _printable(name), fill="black", font=font, anchor="lm")
    return sheet


def _printable(name: str) -> str:
    """A name on one line, whatever somebody called a file."""
    short = "".join(sign if sign.isprintable() else " " for sign in name)
    return short if len(short) <= 60 else short[:59] + "…"


def png(image: Image.Image) -> str:
    """A picture as base64 of its PNG."""
    kept = io.BytesIO()
    image.save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode("ascii")
