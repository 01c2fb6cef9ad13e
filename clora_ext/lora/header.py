"""Is a file safetensors, and whole? Told from its first bytes and its size, before any tensor is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clora_ext.errors import LoraError

_LENGTH = 8
"""Bytes that say how long the header is."""
_LONGEST = 100_000_000
"""Bytes of a header that safetensors reads at most."""
_OTHER_FILES: Mapping[bytes, str] = {
    b"PK\x03\x04": "is an archive of PyTorch's under another ending; save it again as safetensors",
    b"\x80": "is a pickle of PyTorch's under another ending; save it again as safetensors",
    b"<": "is a page of the web, not a LoRA; download the file itself",
    b"version ": "only says where Git LFS keeps the file; download the file itself",
}
"""First bytes of what people save under the ending of safetensors, and what to do."""
AGAIN = "download it again"


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says of itself."""

    tensors: Mapping[str, Mapping[str, Any]]
    """``dtype``, ``shape`` and ``data_offsets`` by name."""
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read the header of a LoRA file. Raises ``LoraError`` for one that is missing, cut off or something else."""
    if not path.is_file():
        raise LoraError(f"There is no LoRA file {path.name} in {path.parent}.", field="lora")
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH)
            length = int.from_bytes(start, "little")
            text = file.read(length) if length <= _LONGEST else b""
    except OSError as error:
        msg = f"LoRA {path.stem} can not be read ({error.strerror}): see to the file and its rights."
        raise LoraError(msg, field="lora") from error
    _require_format(path.stem, start, length, text)
    size = path.stat().st_size
    if len(text) < length:
        raise _cut_off(path.stem, size, _LENGTH + length)
    found = _parsed(path.stem, text)
    needed = _LENGTH + length + max((entry["data_offsets"][1] for entry in found.tensors.values()), default=0)
    if size < needed:
        raise _cut_off(path.stem, size, needed)
    return found


def _require_format(name: str, start: bytes, length: int, text: bytes) -> None:
    # the length of a header may begin with the same byte as another kind of file
    for first, what in _OTHER_FILES.items():
        if not text.startswith(b"{") and start.startswith(first):
            raise LoraError(f"LoRA {name} {what}.", field="lora")
    if len(start) < _LENGTH:
        raise LoraError(f"LoRA {name} is empty: {AGAIN}.", field="lora")
    if length > _LONGEST:
        raise LoraError(f"LoRA {name} is no safetensors file: {AGAIN}, or save it again as one.", field="lora")


def _cut_off(name: str, size: int, needed: int) -> LoraError:
    return LoraError(f"LoRA {name} is cut off: {size:,} bytes of {needed:,} are there; {AGAIN}.", field="lora")


def _parsed(name: str, text: bytes) -> Header:
    try:
        read = json.loads(text)
        metadata = dict(read.pop("__metadata__", None) or {})
        ends = [entry["data_offsets"][1] + len(entry["shape"]) for entry in read.values()]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        msg = f"LoRA {name} is no safetensors file, or its header is damaged: {AGAIN}, or save it again."
        raise LoraError(msg, field="lora") from error
    if not ends:
        raise LoraError(f"LoRA {name} has no tensors in it: {AGAIN}, or save it again.", field="lora")
    return Header(read, {str(key): str(value) for key, value in metadata.items()})
