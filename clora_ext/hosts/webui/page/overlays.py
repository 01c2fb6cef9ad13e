"""Masks and attention as pictures: laid over the image with a legend, and as plain grey PNGs."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from modules import images, shared
from modules.images import get_font
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from clora_ext.hosts.webui.options import option
from clora_ext.hosts.webui.page.pass_record import PassRecord, shown_passes

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#f0e442")
"""Told apart by colour-blind eyes as well (Okabe and Ito); repeated after seven."""

STYLE = "#999999"
"""A style has no mask of its own."""

LONGEST_NAME = 60
"""Characters of a name in a legend."""


def colour_of(subject: int) -> str:
    """The colour of a subject by its number, in the panel as in the masks."""
    return COLOURS[subject % len(COLOURS)]


def grey_picture(share: Tensor, size: tuple[int, int]) -> Image.Image:
    """One branch's mask [height, width] in 0..1 as a grey picture of ``size`` (width, height)."""
    levels = (share.clamp(0.0, 1.0) * 255.0).round()
    pixels = levels.to(torch.uint8).numpy()
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def sheet(
    image: Image.Image, regions: Tensor, maps: Sequence[Tensor] | Tensor, names: Sequence[str], colours: Sequence[str]
) -> Image.Image:
    """Side by side over the greyed ``image``: who draws what, and each subject's attention.

    ``regions`` are region masks [branch, height, width] in 0..1, base first, ``maps`` attention [subject, height,
    width] of any scale. A legend with ``names`` stands below.
    """
    below = image.convert("L").convert("RGB")
    parts = [_masked(below, regions, colours)]
    parts += [heat(below, found, hue) for found, hue in zip(maps, colours, strict=False)]
    whole = Image.new("RGB", (image.width * len(parts), image.height))
    for place, part in enumerate(parts):
        whole.paste(part, (place * image.width, 0))
    return _with_legend(whole, names, colours, max(10, image.width // 32))


def _masked(below: Image.Image, regions: Tensor, colours: Sequence[str]) -> Image.Image:
    """``below`` with every subject's mask in its colour."""
    found = below.copy()
    for share, hue in zip(regions[1:], colours, strict=True):
        mask = grey_picture(share, below.size).point(lambda value: value * 150 // 255)
        found.paste(Image.new("RGB", below.size, hue), mask=mask)
    return found


def peaked(attention: Tensor) -> Tensor:
    """A map [height, width] as shares of its peak."""
    return attention / attention.max().clamp_min(1e-12)


def heat(below: Image.Image, attention: Tensor, hue: str) -> Image.Image:
    """A map [height, width] from black over ``hue`` to white at its peak, with the picture shining through."""
    level = grey_picture(peaked(attention), below.size)
    lit = ImageOps.colorize(level, black="black", mid=hue, white="white")
    return Image.blend(below, lit, 0.7)


def _with_legend(image: Image.Image, names: Sequence[str], colours: Sequence[str], text: int) -> Image.Image:
    line = text * 3 // 2
    paper = Image.new("RGB", (image.width, image.height + line * len(names)), "white")
    paper.paste(image)
    pen, font = ImageDraw.Draw(paper), get_font(text)
    for index, (name, hue) in enumerate(zip(names, colours, strict=True)):
        top = image.height + index * line
        swatch = (line // 4, top + line // 4, line * 3 // 4, top + line * 3 // 4)
        pen.rectangle(swatch, fill=hue)
        pen.text((line, top + line // 2), _printable(name), fill="black", font=font, anchor="lm")
    return paper


def _printable(name: str) -> str:
    """A name on one line, whatever somebody called a file."""
    signs = [sign if sign.isprintable() else " " for sign in name]
    short = "".join(signs)
    return short if len(short) <= LONGEST_NAME else short[: LONGEST_NAME - 1] + "…"


def as_png(image: Image.Image) -> str:
    """A picture as base64 of its PNG."""
    kept = io.BytesIO()
    image.save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode("ascii")


# -- beside a finished job's images ------------------------------------------------------------------------------------


def add_sheets(p: Any, processed: Any, passes: Iterable[PassRecord]) -> None:
    """Append one sheet per image of ``processed``, with the image's own infotext; none for methods without masks."""
    at = processed.index_of_first_image
    made: list[tuple[Any, str]] = []
    for each in shown_passes(passes):
        report = each.report
        titles = [f"{lora}: {words}" for lora, words in zip(each.loras, report.subjects, strict=True)]
        hues = [colour_of(subject) for subject in range(len(titles))]
        for number, regions in enumerate(report.region_masks):
            if at < len(processed.images):
                maps = report.maps[number] if report.maps else ()
                image = sheet(processed.images[at], regions, maps, titles, hues)
                made.append((image, processed.infotexts[at]))
                if option("save_masks") and p.save_samples():
                    _save(p, image, processed, at)
            at += 1
    for image, text in made:
        processed.images.append(image)
        processed.infotexts.append(text)


def _save(p: Any, image: Any, processed: Any, at: int) -> None:
    number = at - processed.index_of_first_image
    images.save_image(
        image,
        p.outpath_samples,
        "",
        processed.all_seeds[number],
        processed.all_prompts[number],
        shared.opts.samples_format,
        info=processed.infotexts[at],
        p=p,
        suffix="-masks",
    )
