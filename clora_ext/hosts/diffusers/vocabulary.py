"""CLIP's tokenizer, from wherever this machine has its vocabulary."""

import gzip
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizerFast

from clora_ext.errors import HostError

CACHED = "openai/clip-vit-large-patch14"
"""Where Hugging Face's cache has it, once any program has asked for it; WebUI does."""
_PACKAGES = ("open_clip", "clip")
_MERGES = "bpe_simple_vocab_16e6.txt.gz"
_WORDS = 49408
_START, _END = "<|startoftext|>", "<|endoftext|>"


def find_tokenizer(folder: Path) -> CLIPTokenizerFast:
    """That of ``folder``, of Hugging Face's cache, or of an installed package.

    Raises ``HostError`` that says what to put where. Nothing is downloaded.
    """
    for place in (folder, _cache()):
        if place is not None and any((place / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            return CLIPTokenizerFast.from_pretrained(place, local_files_only=True)
    merges = _packaged_merges()
    if merges is None:
        msg = (
            f"CLIP's vocabulary is missing: put vocab.json and merges.txt of {CACHED} (huggingface.co) into"
            f" {folder}, or install it with “pip install open_clip_torch”."
        )
        raise HostError(msg)
    return CLIPTokenizerFast(vocab=_vocabulary(merges), merges=[tuple(merge.split()) for merge in merges])


def _cache() -> Path | None:
    found = try_to_load_from_cache(CACHED, "vocab.json")
    return Path(found).parent if isinstance(found, str) else None


def _packaged_merges() -> list[str] | None:
    """CLIP's merges, as its authors' package and OpenCLIP's ship them."""
    for package in _PACKAGES:
        found = find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            path = Path(folder) / _MERGES
            if path.is_file():
                return read_merges(path)
    return None


def read_merges(path: Path) -> list[str]:
    """The merges that CLIP uses, of more that the file has; its first line is a heading."""
    letters = len(ByteLevel.alphabet())
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    return lines[1 : _WORDS - 2 * letters - 2 + 1]


def _vocabulary(merges: list[str]) -> dict[str, int]:
    """Token ids: letters, letters that end a word, merges in their order, start and end."""
    letters = sorted(ByteLevel.alphabet())
    ending = [f"{letter}</w>" for letter in letters]
    joined = [merge.replace(" ", "") for merge in merges]
    words = [*letters, *ending, *joined, _START, _END]
    return {word: number for number, word in enumerate(words)}
