"""The tokenizer: CLIP's algorithm on a small vocabulary, one token per word with a meaning, any text encodes."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from transformers import CLIPTextConfig, CLIPTokenizer

from tiny_world.caption import caption, known_words, nonsense_word
from tiny_world.model import TOKENIZER
from tiny_world.scene import sample_scene
from tiny_world.tokenizer import END, LENGTH, START, byte_symbols, learn_merges


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(str(TOKENIZER))


@pytest.fixture(scope="module")
def vocabulary() -> dict[str, int]:
    return json.loads((TOKENIZER / "vocab.json").read_text(encoding="utf-8"))


def slow_ids(text: str, vocabulary: dict[str, int], ranks: dict[tuple[str, str], int]) -> list[int]:
    """CLIP's byte-pair encoding by its definition: split into words, merge the best-ranked pair again and again."""
    symbols = byte_symbols()
    order = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order += [byte for byte in range(256) if byte not in order]
    of_byte = dict(zip(order, symbols, strict=True))
    ids = []
    for word in re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower()):
        parts = [of_byte[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pairs = [(ranks.get(pair, 10**9), i) for i, pair in enumerate(pairwise(parts))]
            rank, i = min(pairs)
            if rank == 10**9:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        ids += [vocabulary[part] for part in parts]
    return ids


def test_known_words_are_single_tokens(tokenizer: CLIPTokenizer) -> None:
    for word in known_words():
        assert len(tokenizer(word)["input_ids"]) == 3, word


def test_agrees_with_clips_algorithm(tokenizer: CLIPTokenizer, vocabulary: dict[str, int]) -> None:
    lines = (TOKENIZER / "merges.txt").read_text(encoding="utf-8").strip().split("\n")
    assert lines[0].startswith("#version")
    ranks = {tuple(line.split()): i for i, line in enumerate(lines[1:])}
    rng = np.random.default_rng(0)
    texts = [caption(sample_scene(rng), rng).text for _ in range(100)] + [nonsense_word(rng) for _ in range(100)]
    texts += ["(a cat:1.3), [dog]. It's 2 o'clock!? <lora:x:1>", "Grüße, 猫!"]
    for text in texts[:-1]:
        assert tokenizer(text)["input_ids"][1:-1] == slow_ids(text, vocabulary, ranks), text


@pytest.mark.parametrize("text", ["Grüße", "猫と犬", "½ ☃ 🙂", "\x00\x7f", "naïve  \n tab\t", "«»", "ﬁ"])
def test_any_text_encodes(tokenizer: CLIPTokenizer, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[1:-1], "an unknown piece became the unknown token"


def test_special_tokens_and_padding(tokenizer: CLIPTokenizer, vocabulary: dict[str, int]) -> None:
    assert [vocabulary[START], vocabulary[END]] == [len(vocabulary) - 2, len(vocabulary) - 1]
    padded = tokenizer("a cat", padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]
    assert len(padded) == LENGTH == tokenizer.model_max_length
    assert set(padded[3:]) == {tokenizer.eos_token_id}
    assert len(tokenizer("cat " * 200, truncation=True)["input_ids"]) == LENGTH
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))


def test_has_the_marks_that_prompt_syntax_needs(vocabulary: dict[str, int]) -> None:
    for mark in ",()[]:.":
        assert mark in vocabulary
        assert mark + "</w>" in vocabulary


def test_text_config_fits(vocabulary: dict[str, int]) -> None:
    config = CLIPTextConfig.from_pretrained(str(TOKENIZER))
    assert config.vocab_size == len(vocabulary)
    assert config.eos_token_id == vocabulary[END]
    assert (config.hidden_size, config.num_hidden_layers, config.max_position_embeddings) == (128, 2, 77)


def test_learn_merges_takes_the_most_frequent_pair_first() -> None:
    merges = learn_merges({"aab": 5, "ab": 3, "cd": 2}, 10)
    assert merges[0] == ("a", "b</w>")
    assert merges[1] == ("a", "ab</w>")
    assert merges[2] == ("c", "d</w>")
    assert len(merges) == 3
