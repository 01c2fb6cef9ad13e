"""A small CLIP tokenizer: byte-pair merges learned on caption words, and every single byte so that any text encodes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from .caption import known_words, nonsense_word
from .concepts import TRIGGERS

START = "<|startoftext|>"
END = "<|endoftext|>"
LENGTH = 77
MERGES = 600


def byte_symbols() -> list[str]:
    """The 256 printable characters that stand for bytes in GPT-2's and CLIP's vocabularies, in their order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def learn_merges(words: Mapping[str, int], count: int) -> list[tuple[str, str]]:
    """Byte-pair merges by falling frequency (ties by text) over words with their counts; at most `count` of them."""
    pieces = {word: (*word[:-1], word[-1] + "</w>") for word in words}
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in pieces.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in pieces.items():
            if len(parts) < 2:
                continue
            merged: list[str] = []
            i = 0
            while i < len(parts):
                if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            pieces[word] = tuple(merged)
    return merges


def caption_words(seed: int = 0, nonsense: int = 4000) -> Counter[str]:
    """Words to learn merges on: those with a meaning weigh so much that each becomes one token."""
    rng = np.random.default_rng(seed)
    words = Counter(nonsense_word(rng) for _ in range(nonsense))
    words.update(dict.fromkeys(known_words(), 3000))
    assert not TRIGGERS & set(words)
    return words


def write_tokenizer(folder: Path, seed: int = 0) -> int:
    """Writes vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json; returns the vocabulary's size."""
    merges = learn_merges(caption_words(seed), MERGES)
    symbols = byte_symbols()
    entries = [*symbols, *(s + "</w>" for s in symbols), *(a + b for a, b in merges)]
    entries = [*dict.fromkeys(entries), START, END]
    settings, special = tokenizer_settings()
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = json.dumps({entry: i for i, entry in enumerate(entries)}, ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8", newline="\n")
    put_lines(folder / "merges.txt", "\n".join(["#version: 0.2", *(f"{a} {b}" for a, b in merges)]))
    put_lines(folder / "tokenizer_config.json", json.dumps(settings, indent=2))
    put_lines(folder / "special_tokens_map.json", json.dumps(special, indent=2))
    return len(entries)


def tokenizer_settings() -> tuple[dict[str, object], dict[str, str]]:
    """What stands in tokenizer_config.json and in special_tokens_map.json."""
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": LENGTH,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        **special,
    }
    return settings, special


def put_lines(path: Path, text: str) -> None:
    """Writes a text and a last line feed; a merge must not end in a return."""
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def make_tokenizer(weights: Path) -> None:
    """Writes the tokenizer's folder and the text encoder's configuration unless they are there."""
    folder = weights / "tokenizer"
    if not (folder / "config.json").exists():
        write_text_config(folder, write_tokenizer(folder))


def write_text_config(folder: Path, vocabulary: int) -> None:
    """Writes config.json, from which transformers 4 and 5 and WebUI build the text encoder."""
    from .model import text_config

    made = text_config(vocabulary)
    names = [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "projection_dim",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "hidden_act",
        "layer_norm_eps",
        "attention_dropout",
        "initializer_range",
        "initializer_factor",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    ]
    plain = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"}
    plain |= {name: getattr(made, name) for name in names}
    (folder / "config.json").write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
