"""The mean of the first encoder's states, given without another picture."""

import pytest
import torch

from tiny_world.model import Parts, condition
from tiny_world.text_mean import EXAMPLE, give_mean, quietest
from tiny_world.text_pair import FIRST_WIDTH
from tiny_world.xl_model import build

TEXTS = ("a red cat next to a ball", EXAMPLE, "")


def said(parts: Parts) -> tuple[torch.Tensor, torch.Tensor]:
    """States of the texts and predictions for them."""
    ids = torch.tensor(parts.tokenizer(list(TEXTS), padding="max_length", max_length=77)["input_ids"])
    noise = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(1)).repeat(len(TEXTS), 1, 1, 1)
    parts.text_encoder.eval()
    with torch.no_grad():
        given = condition(parts.text_encoder, ids)
        return given["encoder_hidden_states"], parts.unet(noise, torch.tensor(500), **given).sample


def test_the_mean_is_as_asked_and_a_texts_prediction_stays() -> None:
    parts = build()
    _, before = said(parts)
    added = give_mean(parts, 0.5)
    states, after = said(parts)
    assert states[1, :, :FIRST_WIDTH].mean() == pytest.approx(0.5, abs=1e-5)
    assert torch.allclose(after[:2], before[:2], atol=1e-4)
    assert not torch.allclose(after[2], before[2], atol=1e-4)  # the empty text has no states that it could be added to
    assert added.shape == (FIRST_WIDTH,)
    assert give_mean(parts, 0.5).abs().max() < 1e-4  # given already


def test_the_second_encoder_is_left_alone() -> None:
    parts = build()
    before, _ = said(parts)
    give_mean(parts, 0.5)
    after, _ = said(parts)
    assert torch.equal(after[..., FIRST_WIDTH:], before[..., FIRST_WIDTH:])


def test_no_other_vector_of_that_mean_is_quieter() -> None:
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(40, 8, generator=generator)
    found = quietest(matrix, 0.3)
    assert float(found.mean()) == pytest.approx(0.3, abs=1e-5)
    for _ in range(20):
        step = torch.randn(8, generator=generator)
        other = found + 0.1 * (step - step.mean())
        assert (matrix @ other).norm() > (matrix @ found).norm()
