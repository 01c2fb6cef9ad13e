"""The embedded host on the tiny world: what it draws, what it says, what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clora_ext.batch.conditions import Condition, StepConditions
from clora_ext.batch.rows import Half, Row
from clora_ext.engine.gradient import predict_rows
from clora_ext.errors import BindingError, HostError, LoraError, SettingsError
from clora_ext.hosts.diffusers import texts
from clora_ext.hosts.diffusers.checkpoint import Model, load
from clora_ext.hosts.diffusers.cli import main
from clora_ext.hosts.diffusers.host import EmbeddedDenoiser, EncodedTexts
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.hosts.diffusers.samplers import timesteps
from clora_ext.prompt import Binding
from clora_ext.settings.infotext import from_infotext, to_infotext
from clora_ext.settings.profiles import build_settings
from clora_ext.settings.request import read_request
from tests.obvious.pipeline import LoraUse, with_loras
from tests.obvious.pipeline import Model as ObviousModel
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS

TWO = "a vako cat <lora:tuxcat:1> and a pleko dog <lora:browndog:1> in the grass"
SMALL = {"steps": 4, "cfg_scale": 4.0}


@pytest.fixture(scope="module")
def model() -> Model:
    return load(CHECKPOINT, CONFIG, TOKENIZER)


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(WEIGHTS / "lora", WEIGHTS / "lora-b")


def _far(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


def test_the_same_request_gives_the_same_picture_and_a_batch_the_same_pictures(model: Model, library: Library):
    both = generate(model, library, Picture(TWO, seeds=(1, 2), **SMALL))
    again = generate(model, library, Picture(TWO, seeds=(1, 2), **SMALL))
    assert [_far(a, b) for a, b in zip(both.images, again.images, strict=True)] == [0, 0]
    alone = generate(model, library, Picture(TWO, seeds=(2,), **SMALL))
    assert _far(alone.images[0], both.images[1]) <= 2
    assert _far(both.images[0], both.images[1]) > 50


def test_methods_differ_and_the_update_matters(model: Model, library: Library):
    found = {
        method: generate(model, library, Picture(TWO, **SMALL), build_settings(method=method)).images[0]
        for method in ("clora", "masks", "merge", "composite", "switch")
    }
    names = list(found)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            assert _far(found[one], found[other]) > 5, (one, other)
    still, masks = (
        generate(model, library, Picture(TWO, **SMALL), wanted).images[0]
        for wanted in (
            build_settings("balanced", step_size=0.0, uncond="branches"),
            build_settings("balanced", method="masks", uncond="branches"),
        )
    )
    assert _far(still, masks) <= 1, "rows that a gradient pass has predicted were in another batch"


def test_one_lora_and_none_are_the_merge(model: Model, library: Library):
    one = Picture("a vako cat <lora:tuxcat:0.8> in the grass", **SMALL)
    merged = generate(model, library, one, build_settings(method="merge"))
    for profile in ("balanced", "paper"):
        assert _far(generate(model, library, one, build_settings(profile)).images[0], merged.images[0]) == 0
    assert _far(generate(model, library, one, build_settings("authors")).images[0], merged.images[0]) > 0
    plain = generate(model, library, Picture("a cat in the grass", **SMALL))
    assert plain.report.rows == 2 * 3


def test_merge_equals_loras_merged_into_the_weights(model: Model, library: Library):
    """The rows' deltas against weights that were really merged, UNet and text encoder."""
    files = {name: library.paths[name] for name in ("tuxcat", "browndog")}
    (own,) = model.text_encoders
    obvious = ObviousModel(model.unet, own.network, model.vae, model.tokenizer, model.alphas_cumprod)
    encoder, unet = with_loras(obvious, [LoraUse("tuxcat", 0.7), LoraUse("browndog", 0.9)], files)
    merged = replace(model, unet=unet, text_encoders=(replace(own, network=encoder),))
    words = "a vako cat and a pleko dog in the grass"
    expected = generate(merged, library, Picture(words, **SMALL)).images[0]
    prompt = words.replace("cat", "cat<lora:tuxcat:0.7>").replace("dog", "dog<lora:browndog:0.9>")
    found = generate(model, library, Picture(prompt, **SMALL), build_settings(method="merge")).images[0]
    assert _far(found, expected) <= 1


def test_the_order_of_the_loras_changes_nothing(model: Model, library: Library):
    asked = [Binding("tuxcat", subject="cat"), Binding("browndog", subject="dog")]
    picture = Picture("a cat and a dog in the grass", **SMALL)
    there = generate(model, library, picture, bindings=asked).images[0]
    back = generate(model, library, picture, bindings=asked[::-1]).images[0]
    assert _far(there, back) <= 2


def test_styles_on_everything_and_on_one_subject(model: Model, library: Library):
    plain = generate(model, library, Picture(TWO, **SMALL)).images[0]
    everywhere = generate(model, library, Picture(TWO + " <lora:lineart:1:role=style>", **SMALL)).images[0]
    on_one = generate(model, library, Picture(TWO + " <lora:lineart:1:on=cat>", **SMALL)).images[0]
    assert min(_far(plain, everywhere), _far(plain, on_one), _far(everywhere, on_one)) > 5


def test_sizes_that_are_not_square(model: Model, library: Library):
    result = generate(model, library, Picture(TWO, width=192, height=136, **SMALL))
    assert result.images[0].size == (192, 136)
    assert result.report.region_masks[0].shape[-2:] == (17, 24)


def test_a_prompt_of_more_than_75_tokens(model: Model, library: Library):
    long = TWO.replace("in the grass", ", ".join(["in the green grass"] * 30))
    assert texts.tokenize(model, long).ids.shape[0] > 1
    result = generate(model, library, Picture(long, negative="blurry", steps=2, cfg_scale=4.0))
    assert result.report.region_masks[0].shape[0] == 3


def test_columns_count_chunks(model: Model):
    text = "cat " + "and " * 100 + "dog"
    tokens = texts.tokenize(model, text)
    assert tokens.columns([(0, 3)])[0] == 1
    first = tokens.columns([(len(text) - 3, len(text))])[0]
    assert first // 77 == 1
    with pytest.raises(Exception, match="no token"):
        tokens.columns([(len(text) + 5, len(text) + 6)])


def test_timesteps_are_webuis():
    assert timesteps(10) == [901, 801, 701, 601, 501, 401, 301, 201, 101]
    assert len(timesteps(20)) == 19
    assert len(timesteps(30)) == 30
    assert timesteps(1000)[0] == 999


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        ("a cat <lora:nothere:1>", LoraError, "browndog"),
        ("a horse <lora:tuxcat:1> and a dog <lora:browndog:1>", BindingError, "tuxcat"),
        ("a vako cat <lora:tuxcat:x>", Exception, "tuxcat"),
    ],
)
def test_what_can_not_be_done_is_said(model: Model, library: Library, prompt: str, error: type, words: str):
    with pytest.raises(error, match=words):
        generate(model, library, Picture(prompt, **SMALL))


@pytest.mark.parametrize("values", [{"width": 100}, {"steps": 0}, {"seeds": ()}, {"height": 4096}])
def test_pictures_that_can_not_be(values: dict):
    with pytest.raises(SettingsError):
        Picture("a cat", **values)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(HostError, match="is missing in"):
        load(tmp_path / "none.safetensors", CONFIG, TOKENIZER)


def test_the_command_line_writes_an_infotext_that_makes_the_request_again(tmp_path: Path, capsys):
    arguments = [TWO, "--seed", "3", "--steps", "2", "--set", "mask_threshold=0.4", "--out", str(tmp_path)]
    assert main([*arguments, "--bind", "tuxcat: cat", "--negative", "blurry"]) == 0
    path = Path(capsys.readouterr().out.strip())
    words = Image.open(path).text["parameters"]
    assert words.startswith(TWO)
    assert "Negative prompt: blurry" in words
    pairs = to_infotext(read_request({"mask_threshold": 0.4, "bindings": "tuxcat: cat"}))
    assert all(
        f"{key}: {json.dumps(value, ensure_ascii=False) if ':' in value else value}" in words
        for key, value in pairs.items()
    )
    assert read_request(from_infotext(pairs)).settings.mask_threshold == 0.4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--set", "colour=red"], "colour"), (["--size", "wide"], "128x128"), (["--method", "magic"], "composite")],
)
def test_the_command_line_says_what_is_wrong(tmp_path: Path, capsys, arguments: list[str], words: str):
    assert main([TWO, *arguments, "--out", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_threads_and_gradients_are_left_as_they_were(model: Model, library: Library):
    before = [parameter.requires_grad for parameter in model.unet.parameters()]
    generate(model, library, Picture(TWO, **SMALL))
    assert [parameter.requires_grad for parameter in model.unet.parameters()] == before
    assert torch.is_grad_enabled()
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.unet.modules())


def test_a_longer_negative_prompt_leaves_the_prompt_as_it_is(model: Model, library: Library):
    """Texts of two lengths are not padded to one: without LoRAs composing is the plain picture."""
    bare = "a cat <lora:tuxcat:0> and a dog <lora:browndog:0> in the grass"
    long = "blurry, bad, " * 30  # two chunks of tokens
    plain = generate(model, library, Picture(bare, negative=long, **SMALL), build_settings(method="merge"))
    wanted = build_settings("authors", step_size=0.0)
    composed = generate(model, library, Picture(bare, negative=long, **SMALL), wanted)
    assert _far(composed.images[0], plain.images[0]) <= 1
    lengths = {Half.COND: 77, Half.UNCOND: 154}
    encoded = EncodedTexts({(0, half): Condition(torch.randn(tokens, 128)) for half, tokens in lengths.items()})
    denoiser, latent = EmbeddedDenoiser(model, encoded, 500), torch.randn(1, 4, 16, 16)
    rows = [Row(0, 0), Row(0, 0, Half.UNCOND)]
    with torch.no_grad():
        alone = [predict_rows(denoiser, StepConditions(denoiser.conditions), latent, [row]) for row in rows]
        both = predict_rows(denoiser, StepConditions(denoiser.conditions), latent, rows)
    torch.testing.assert_close(both, torch.cat(alone))


def test_a_lora_is_its_file_by_whatever_name(library: Library):
    for name in ("TuxCat", "pets/tuxcat", "tuxcat.safetensors"):
        assert library.facts(name) == library.facts("tuxcat")
        assert library.file(name) is library.file("tuxcat")
    with pytest.raises(LoraError, match="There is no LoRA “tuxcats”"):
        library.file("tuxcats")
