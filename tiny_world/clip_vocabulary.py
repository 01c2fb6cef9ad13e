"""CLIP's own tokenizer, which OpenCLIP has built in: its folder is made from the merge table beside a world's weights.

The table is that of https://github.com/openai/CLIP (MIT licence), cut to the merges behind CLIP's 49408 entries.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

from transformers import CLIPTokenizer

from .tokenizer import END, LENGTH, START, byte_symbols, put_lines, tokenizer_settings

ENTRIES = 49408
MERGES = "merges.txt.gz"
"""Beside a world's weights: one merge a line, gzipped."""


def merges(table: Path) -> list[str]:
    """The merges of a table, in order. Raises FileNotFoundError if there is none."""
    return gzip.decompress(table.read_bytes()).decode("utf-8").splitlines()


def write_clip_tokenizer(folder: Path, table: Path, configs: Mapping[str, Mapping[str, object]]) -> Path:
    """Writes the four files from which transformers reads the tokenizer, and `configs` by their names, unless all of
    them are there already.
    """
    if all((folder / name).exists() for name in configs):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    symbols, lines = byte_symbols(), merges(table)
    words = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *(line.replace(" ", "") for line in lines), START, END]
    put_lines(folder / "vocab.json", json.dumps({word: i for i, word in enumerate(words)}, ensure_ascii=False))
    put_lines(folder / "merges.txt", "\n".join(["#version: 0.2", *lines]))
    settings, special = tokenizer_settings()
    put_lines(folder / "tokenizer_config.json", json.dumps(settings, indent=2))
    put_lines(folder / "special_tokens_map.json", json.dumps(special, indent=2))
    for name, config in configs.items():  # the last, as they say that all are there
        put_lines(folder / name, json.dumps(config, indent=2))
    return folder


def read_clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of such a folder; 77 tokens long."""
    return CLIPTokenizer.from_pretrained(str(folder), model_max_length=LENGTH)
