"""The world of SDXL's topology in the embedded host: read as its trainer reads it."""

import pytest
import torch

from clora_ext.hosts.diffusers.checkpoint import Model, load
from clora_ext.hosts.diffusers.encoders import OPEN_CLIP_PADDING
from clora_ext.hosts.diffusers.texts import encode_tokens, side_by_side, tokenize
from tiny_world.model import Parts, condition
from tiny_world.worlds import XL
from tiny_world.xl_model import XL_CHECKPOINT, XL_CONFIG, tokenizer_folder

TEXT = "masterpiece, a cat next to a ball in the grass"


@pytest.fixture(scope="module")
def model() -> Model:
    return load(XL_CHECKPOINT, XL_CONFIG, tokenizer_folder())


@pytest.fixture(scope="module")
def parts() -> Parts:
    return XL.load(XL.weights)


def test_texts_are_encoded_as_the_trainer_encodes_them(model: Model, parts: Parts):
    """The heads of the second encoder are told by OpenCLIP's description alone."""
    words = tokenize(model, TEXT)
    ours = side_by_side([encode_tokens(encoder, [words])[0] for encoder in model.text_encoders])
    with torch.no_grad():
        theirs = condition(parts.text_encoder, words.ids)
    assert model.text_encoders[1].padding == OPEN_CLIP_PADDING
    assert torch.allclose(ours.tokens, theirs["encoder_hidden_states"][0], atol=1e-4)
    assert ours.pooled is not None
    assert torch.allclose(ours.pooled, theirs["added_cond_kwargs"]["text_embeds"][0], atol=1e-4)


def test_the_unet_predicts_as_the_trainers_does(model: Model, parts: Parts):
    ids = tokenize(model, TEXT).ids
    latent = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        said = condition(parts.text_encoder, ids)
        ours, theirs = (unet(latent, torch.tensor(500), **said).sample for unet in (model.unet, parts.unet))
    assert torch.allclose(ours, theirs, atol=1e-5)
