# WebUI 1.10.1: modules/sd_hijack_clip.py

from typing import Any, NamedTuple

from torch import Tensor, nn

# Where the vectors of a textual inversion stand; ``offset`` counts without the start token.
class PromptChunkFix(NamedTuple):
    offset: int
    embedding: Any

# 77 tokens, start and end among them.
class PromptChunk:
    tokens: list[int]
    multipliers: list[float]
    fixes: list[PromptChunkFix]

class TextConditionalModel(nn.Module):
    chunk_length: int
    input_key: str
    return_pooled: bool
    comma_token: int | None
    id_start: int
    id_end: int
    id_pad: int

    def empty_chunk(self) -> PromptChunk: ...
    def get_target_prompt_token_count(self, token_count: int) -> int: ...
    def tokenize(self, texts: list[str]) -> list[list[int]]: ...
    def tokenize_line(self, line: str) -> tuple[list[PromptChunk], int]: ...
    # The chunks of every text, and how many tokens the longest has.
    def process_texts(self, texts: list[str]) -> tuple[list[list[PromptChunk]], int]: ...
    # Of SDXL's second encoder also the pooled vectors.
    def forward(self, texts: list[str]) -> Tensor | tuple[Tensor, Tensor]: ...

class FrozenCLIPEmbedderWithCustomWordsBase(TextConditionalModel):
    wrapped: nn.Module

    def __init__(self, wrapped: nn.Module, hijack: Any) -> None: ...

class FrozenCLIPEmbedderWithCustomWords(FrozenCLIPEmbedderWithCustomWordsBase): ...
