"""What an error says, fit to be shown to strangers: without paths, and without words of prompts."""

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from clora_ext.errors import CLoRAError, causes

FRAME = "    at "
"""How a line begins that tells a place in the code."""
HIDDEN = "…"
"""What stands for a word that is left out."""

_START = r"(?<![\w.:/\\])"
_FILE = r"""(?:[^\\/:*?'"<>|\n,;]*?\.(?:safetensors|ckpt|pt|pth|bin|json|ya?ml|png|py|txt)\b|[^\s\\/:*?'"“”<>|,;)]+)"""
"""The last part of a path: up to a known ending, or up to a blank."""
_QUOTED = re.compile(r"""(['"“])(?:[A-Za-z]:[\\/]|\\\\|~?/)[^'"”\n]*(['"”])""")
_WINDOWS = re.compile(_START + r"""(?:[A-Za-z]:[\\/]|\\\\)(?:[^\\/:*?"<>|\r\n]+[\\/]+)*""" + _FILE)
_UNIX = re.compile(_START + r"""~?/(?:[^/\n:'"<>|]+/)*""" + _FILE)
_BELOW = re.compile(r"""(<\w+>)[\\/](?:[^\\/\n:'"<>|]+[\\/])*""" + _FILE)
"""In a folder that has a name."""
_PATH = "<path>"
_PLAIN = frozenset({"the", "and", "with", "for", "from", "that", "there", "has", "not", "are", "its"})
"""Words of prompts that sentences are made of too."""
_FRAMES = 6
"""Of the places where an error came up, the last ones."""


def without_paths(text: str, roots: Mapping[str, str]) -> str:
    """``text`` with every file path replaced; ``roots`` are names of known folders, by path.

    >>> without_paths("no /home/ann/ui/models/a b.pt in 'C:\\\\Users\\\\ann\\\\x y.pt'", {"/home/ann/ui": "webui"})
    "no <webui>/<path> in '<path>'"
    """
    for root in sorted(filter(None, roots), key=len, reverse=True):
        spellings = {root, root.replace("\\", "/"), root.replace("\\", "\\\\")}
        for spelling in spellings:
            text = re.sub(re.escape(spelling) + r"(?=[\\/]|\b)", f"<{roots[root]}>", text)
    text = _QUOTED.sub(rf"\1{_PATH}\2", text)
    text = _BELOW.sub(rf"\1/{_PATH}", text)
    return _UNIX.sub(_PATH, _WINDOWS.sub(_PATH, text))


def without_words(text: str, texts: Iterable[str]) -> str:
    """``text`` without the words of ``texts``, whatever their capitals; short ones, of one or two letters, stay.

    >>> without_words("There is no “Cat” in it; there is a dog.", ["a cat", "dog:1.2"])
    'There is no “…” in it; there is a ….'
    """
    words = {word.casefold() for each in texts for word in re.findall(r"[^\W_]{3,}", each)} - _PLAIN
    return re.sub(r"[^\W_]{3,}", lambda match: HIDDEN if match[0].casefold() in words else match[0], text)


def cause_lines(error: BaseException, extension: Path) -> Iterator[str]:
    """What went wrong, why, and where: a line for each cause, and one for each place."""
    for number, each in enumerate(causes(error)):
        field = f" ({each.field})" if isinstance(each, CLoRAError) and each.field else ""
        message = each.message if isinstance(each, CLoRAError) else str(each)
        yield f"{'because of ' if number else ''}{type(each).__name__}{field}: {message}"
        for frame in traceback.extract_tb(each.__traceback__)[-_FRAMES:]:
            yield f"{FRAME}{_place(Path(frame.filename), extension)}:{frame.lineno} in {frame.name}"


def _place(file: Path, extension: Path) -> str:
    """A file of ours by its path in the extension, another by its name and folder."""
    if extension in file.parents:
        return file.relative_to(extension).as_posix()
    return "/".join(file.parts[-2:])
