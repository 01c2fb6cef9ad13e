"""Pictures that somebody sends as text, made masks for the engine."""

import io
from collections.abc import Sequence

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from clora_ext.engine.own_masks import OwnMask, OwnMasks
from clora_ext.errors import BindingError
from clora_ext.prompt import Binding, Subject, picture_bytes

FORMATS = ("PNG", "JPEG", "WEBP")
LONGEST_SIDE = 4096
"""Pixels."""


def read_mask(text: str, field: str = "mask") -> Tensor:
    """How white every pixel of a picture in base64 is, from 0 to 1: [height, width]; what is transparent is black.

    Raises ``BindingError`` about ``field`` for what is no picture, for one that is too large, and for a black one.
    """
    grey = _read_grey(text, field)
    if grey.getextrema()[1] == 0:
        raise BindingError("The mask is black all over; make white where the subject is to be.", field=field)
    values = torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8)
    return values.view(grey.height, grey.width).to(torch.float32) / 255.0


def _read_grey(text: str, field: str) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(picture_bytes(text)), formats=FORMATS)
        if max(picture.size) > LONGEST_SIDE:
            size = f"{picture.width}x{picture.height}"
            msg = f"The mask has {size} pixels; make it smaller, {LONGEST_SIDE} along a side are the most."
            raise BindingError(msg, field=field)
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        msg = f"The mask is no picture that can be read; save it as {', '.join(FORMATS)}."
        raise BindingError(msg, field=field) from None
    if picture.mode.startswith(("I", "F")):
        raise BindingError("The mask has more than 8 bits a pixel; save it with 8.", field=field)
    return _over_black(ImageOps.exif_transpose(picture))


def _over_black(picture: Image.Image) -> Image.Image:
    """The grey of a picture, in which what is transparent is black."""
    whole = picture.convert("RGBA")
    black = Image.new("RGBA", whole.size, "black")
    return Image.alpha_composite(black, whole).convert("L")


def check_masks(bindings: Sequence[Binding]) -> None:
    """Raise ``BindingError`` for the first binding whose mask can not be used."""
    for index, binding in enumerate(bindings):
        if binding.mask is not None:
            read_mask(binding.mask, f"bindings[{index}].mask")


def read_masks(subjects: Sequence[Subject]) -> OwnMasks:
    """The own masks of subjects, of the size that their pictures have. Raises ``BindingError`` as ``read_mask``."""
    found: list[OwnMask | None] = []
    for subject in subjects:
        own = None if subject.mask is None else OwnMask(subject.mask_way, read_mask(subject.mask))
        found.append(own)
    return OwnMasks(tuple(found))
