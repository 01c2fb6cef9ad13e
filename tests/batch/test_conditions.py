"""Texts of rows, stacked as one call of the UNet can see them."""

from collections.abc import Sequence

import torch

from clora_ext.batch.conditions import Condition, StepConditions, stacked
from clora_ext.batch.rows import Half, Row


def of(tokens: int, value: float = 1.0, *, pooled: bool = False) -> Condition:
    found = torch.arange(tokens)[:, None] + value * torch.ones(tokens, 3)
    return Condition(found, torch.full((5,), value), torch.full((6,), 64.0)) if pooled else Condition(found)


def test_shorter_texts_repeat_their_last_token():
    both = stacked([of(2), of(4)], at_least=5)
    assert both.tokens.shape == (2, 5, 3)
    assert torch.equal(both.tokens[0, 2:], both.tokens[0, 1:2].expand(3, -1))
    assert torch.equal(both.tokens[1, :4], of(4).tokens)
    assert both.pooled is None
    assert both.sizes is None


def test_pooled_texts_and_sizes_are_stacked_and_never_padded():
    both = stacked([of(2, 1.0, pooled=True), of(4, 2.0, pooled=True)])
    assert both.pooled.tolist() == [[1.0] * 5, [2.0] * 5]
    assert both.sizes.shape == (2, 6)


def test_halves_of_one_length_are_one_call_and_of_two_lengths_two():
    asked: list[Sequence[Row]] = []
    lengths = {Half.COND: 4, Half.UNCOND: 4}

    def fetch(rows: Sequence[Row]) -> list[Condition]:
        asked.append(rows)
        return [of(lengths[row.half], row.branch) for row in rows]

    rows = [Row(0, 0), Row(0, 1), Row(0, 0, Half.UNCOND)]
    ((places, condition),) = StepConditions(fetch).groups(rows)
    assert places == [0, 1, 2]
    assert condition.tokens[:, 0, 0].tolist() == [0.0, 1.0, 0.0]
    lengths[Half.UNCOND] = 8
    conditions = StepConditions(fetch)
    found = conditions.groups(rows)
    assert [(places, condition.tokens.shape[1]) for places, condition in found] == [([0, 1], 4), ([2], 8)]
    before = len(asked)
    assert conditions.groups(tuple(rows)) is found, "asked once for the same rows"
    assert len(asked) == before
