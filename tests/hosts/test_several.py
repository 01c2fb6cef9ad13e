"""Several subjects of one LoRA in the embedded host: the same picture as by a file of its own for each."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from clora_ext.batch.rows import Row
from clora_ext.engine.prepare import prepare
from clora_ext.hosts.diffusers.checkpoint import Model, load
from clora_ext.hosts.diffusers.host import EmbeddedHost
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.merge.recipe import Part, Recipe
from clora_ext.prompt import parse_bindings
from clora_ext.settings.profiles import build_settings
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS

WORDS = "a vako cat and a pleko dog in the grass"
LINES = "{0}: cat, trigger=vako\n{1}: dog, trigger=pleko"


@pytest.fixture(scope="module")
def model() -> Model:
    return load(CHECKPOINT, CONFIG, TOKENIZER)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """One LoRA by two names, and by a third with the recipe of a merge."""
    folder: Path = tmp_path_factory.mktemp("loras")
    file = WEIGHTS / "lora" / "tuxcat.safetensors"
    for name in ("one", "other"):
        shutil.copy(file, folder / f"{name}.safetensors")
    recipe = Recipe("concat", (Part("tuxcat", trigger="vako cat"), Part("browndog", trigger="pleko dog")))
    metadata = {"modelspec.trigger_phrase": "vako cat, pleko dog"} | recipe.metadata()
    save_file(load_file(file), folder / "six.safetensors", metadata=metadata)
    return Library(folder)


def _drawn(model: Model, library: Library, prompt: str, lines: str = "", **settings: object) -> Image.Image:
    picture = Picture(prompt, steps=2, cfg_scale=4.0)
    return generate(model, library, picture, build_settings(**settings), parse_bindings(lines)).images[0]


def _far(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


@pytest.mark.parametrize("profile", ["fast", "balanced"])
def test_one_file_draws_two_subjects_as_two_copies_of_it(model: Model, library: Library, profile: str):
    assert library.facts("six").parts == ("vako cat", "pleko dog")
    two = _drawn(model, library, WORDS, LINES.format("one", "other"), profile=profile)
    once = _drawn(model, library, f"{WORDS} <lora:six:1>", profile=profile)
    assert _far(two, once) <= 1


def test_a_file_of_several_subjects_counts_once_in_a_plain_picture(model: Model, library: Library):
    plain = _drawn(model, library, f"{WORDS} <lora:six:1>", method="merge")
    assert _far(plain, _drawn(model, library, f"{WORDS} <lora:one:1:role=style>", method="merge")) == 0


def test_text_encoders_have_each_subjects_own_strength(model: Model, library: Library):
    def dog_of(name: str) -> Tensor:
        prompt = f"a cat and a dog <lora:one:te=0:unet=1:bind=cat> <lora:{name}:te=1:unet=1:bind=dog>"
        host = EmbeddedHost(model, library, "", (64, 64))
        encoded = host.encode(prepare([prompt], (), build_settings(), host).branches)
        row = Row(0, 2)
        return encoded.at([row], 0)[row].tokens

    torch.testing.assert_close(dog_of("one"), dog_of("other"))
