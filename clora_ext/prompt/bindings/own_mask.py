"""A picture of where a LoRA's subject is to be, as text: base64, with or without the beginning of a data URL."""

import base64
import binascii
import hashlib
from typing import Literal, get_args

MaskWay = Literal["fixed", "limited", "added"]
"""How an own mask counts: instead of attention's, only attention's within it, or attention's and it."""

MASK_WAYS: tuple[MaskWay, ...] = get_args(MaskWay)

LARGEST = 8 * 2**20
"""Bytes of a picture's file."""


def picture_bytes(text: str) -> bytes:
    """The file that ``text`` holds; empty where it holds none, or one that is too large.

    >>> picture_bytes("data:image/png;base64,aGk=")
    b'hi'
    """
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    if len(encoded) > LARGEST * 4 // 3 + 4:
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""


def mask_digest(text: str) -> str:
    """What tells one picture from another: the beginning of its file's SHA-256."""
    return hashlib.sha256(picture_bytes(text)).hexdigest()[:12]
