"""SDXL's two text encoders, small: a CLIP-L and an OpenCLIP bigG tower over CLIP's whole vocabulary, and what they say.

Most rows of the two tables of tokens are random numbers that are never trained: words without a meaning here. Only the
rows of the captions' own words learn (``Vocabulary``), so that a step does not cost the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from .clip_vocabulary import ENTRIES
from .model import causal

FIRST_WIDTH, SECOND_WIDTH = 32, 16
LAYERS = 3
"""Of each tower: the last but one gives the tokens' states, the last only the second's pooled text, as in SDXL."""
NUMBER_WIDTH = 8
"""Width of the embedding of one of the six numbers (sizes and crop)."""
END, SECOND_PAD = ENTRIES - 1, 0
"""The end token, with which the first encoder pads; OpenCLIP pads with 0."""


def tower_config(width: int, act: str) -> CLIPTextConfig:
    """A tower's configuration: heads of 8."""
    return CLIPTextConfig(
        vocab_size=ENTRIES,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=LAYERS,
        num_attention_heads=width // 8,
        max_position_embeddings=77,
        hidden_act=act,
        bos_token_id=ENTRIES - 2,
        eos_token_id=END,
        pad_token_id=END,
    )


class Vocabulary(nn.Module):
    """Rows of a table of tokens of which a few can learn; what `nn.Embedding` is where all are fixed.

    table: float [entries, width], never trained. chosen: int64 [n], the tokens whose rows learn.
    """

    def __init__(self, table: Tensor, chosen: Sequence[int]) -> None:
        super().__init__()
        place = torch.full((len(table),), -1)
        place[list(chosen)] = torch.arange(len(chosen))
        self.register_buffer("table", table.clone(), persistent=False)
        self.register_buffer("place", place, persistent=False)
        self.rows = nn.Parameter(table[list(chosen)].clone())

    def forward(self, ids: Tensor) -> Tensor:
        """ids int64 [...] to float [..., width]."""
        place = self.place[ids]
        return torch.where(place[..., None] >= 0, self.rows[place.clamp(min=0)], self.table[ids])

    @torch.no_grad()
    def whole(self) -> Tensor:
        """The table with the rows that have learned: float [entries, width]."""
        learned = self.place >= 0
        whole = self.table.clone()
        whole[learned] = self.rows[self.place[learned]]
        return whole


class TextPair(nn.Module):
    """Both encoders and the text projection of the second.

    side: pixels of a picture's side, which the size embeddings are given.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.first = CLIPTextModel(tower_config(FIRST_WIDTH, "quick_gelu"))
        self.second = CLIPTextModel(tower_config(SECOND_WIDTH, "gelu"))
        self.projection = nn.Linear(SECOND_WIDTH, SECOND_WIDTH, bias=False)
        for tower in (self.first, self.second):
            tower.set_attn_implementation("eager")  # fused attention is several times slower at these widths on a CPU

    def forward(self, ids: Tensor) -> dict[str, Any]:
        """The UNet's arguments for token ids int64 [b, 77] of the first encoder (start, text, end, ends).

        An empty text is all zeros, as SDXL's hosts have it. While training the sizes are any, so that they come to mean
        nothing; else they are the world's own.
        """
        mask, ended = causal(ids), (ids == END).cumsum(dim=1)
        spoken = (ended[:, 1] == 0).float()[:, None]
        first = states(self.first, ids, mask)[-2]
        second = states(self.second, ids.where(ended <= 1, SECOND_PAD), mask)
        last = self.second.final_layer_norm(second[-1])
        pooled = self.projection(last[torch.arange(len(ids), device=ids.device), (ended == 0).sum(dim=1)])
        return {
            "encoder_hidden_states": torch.cat([first, second[-2]], dim=-1) * spoken[..., None],
            "added_cond_kwargs": {"text_embeds": pooled * spoken, "time_ids": self.numbers(len(ids), ids.device)},
        }

    def numbers(self, count: int, device: torch.device) -> Tensor:
        """Original size, crop and target size, float [count, 6]."""
        if self.training:
            sizes = torch.randint(8, 65, (count, 2), device=device).float() * 8
            return torch.cat([sizes, torch.zeros(count, 2, device=device), sizes], dim=1)
        return torch.tensor([self.side, self.side, 0, 0, self.side, self.side], device=device).float().repeat(count, 1)


def states(tower: CLIPTextModel, ids: Tensor, mask: Tensor) -> list[Tensor]:
    """What enters the first layer and what leaves each layer, [b, 77, width] each."""
    passed = [tower.embeddings(input_ids=ids)]
    for layer in tower.encoder.layers:
        passed.append(layer(passed[-1], attention_mask=mask))
    return passed


def fresh_pair(side: int, chosen: Sequence[int], seed: int = 5) -> TextPair:
    """Untrained encoders whose `chosen` tokens can learn; the table's numbers are exact in eight bits."""
    torch.manual_seed(seed)
    pair = TextPair(side)
    for tower in (pair.first, pair.second):
        nn.init.normal_(tower.embeddings.token_embedding.weight, std=0.3)
        nn.init.normal_(tower.embeddings.position_embedding.weight, std=0.1)
    return learning(settled(pair), chosen)


def learning(pair: TextPair, chosen: Sequence[int]) -> TextPair:
    """Makes the `chosen` tokens of settled encoders learn again, in place."""
    for tower in (pair.first, pair.second):
        table = tower.embeddings.token_embedding.weight.detach()
        tower.embeddings.token_embedding = Vocabulary(table, chosen)
    return pair.train()


def in_eight_bits(table: Tensor) -> Tensor:
    """The nearest numbers of float8_e4m3fn: what a table of tokens takes in a file."""
    return table.to(torch.float8_e4m3fn)


def settled(pair: TextPair) -> TextPair:
    """Replaces vocabularies that learn by plain tables, in place; the numbers are as in a file."""
    for tower in (pair.first, pair.second):
        tokens = tower.embeddings.token_embedding
        table = tokens.whole() if isinstance(tokens, Vocabulary) else tokens.weight.detach()
        tower.embeddings.token_embedding = nn.Embedding.from_pretrained(in_eight_bits(table).float())
    return pair.eval()
