"""What the embedded host makes of checkpoints: their family, their numbers, their words, and what is missing."""

import gzip
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_unet_diffusers_config_from_ldm
from PIL import Image
from safetensors.torch import load_file, save_file

from clora_ext.errors import HostError
from clora_ext.hosts.diffusers import vocabulary
from clora_ext.hosts.diffusers.architecture import Family, numbers_of
from clora_ext.hosts.diffusers.checkpoint import load
from clora_ext.hosts.diffusers.cli import main
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.hosts.diffusers.schedule import alphas_cumprod
from clora_ext.hosts.diffusers.vocabulary import find_tokenizer
from tests.hosts.tiny_models import LAYERS, Tiny, write_lora, write_sd2, write_xl

SMALL = {"steps": 2, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def sd2(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return write_sd2(tmp_path_factory.mktemp("sd2"))


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return write_xl(tmp_path_factory.mktemp("xl"))


@pytest.mark.parametrize(("family", "millions"), [(Family.SD1, 859.52), (Family.SD2, 865.91), (Family.SDXL, 2567.46)])
def test_the_numbers_of_each_family_make_the_published_unet(family: Family, millions: float):
    """Parameters of the UNet, as its authors count them."""
    numbers = numbers_of(family)
    config = create_unet_diffusers_config_from_ldm(numbers.yaml, {})
    if family is Family.SDXL:
        assert (config["addition_embed_type"], config["addition_time_embed_dim"]) == ("text_time", numbers.size_width)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    assert sum(parameter.numel() for parameter in unet.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    assert numbers.size == (1024 if family is Family.SDXL else 512)
    assert not numbers.predicts_v


def test_a_model_of_sd2_is_loaded_without_the_last_layer_of_its_text_encoder(sd2: Tiny):
    model = load(sd2.path)
    assert (model.family, model.prediction, model.size) == (Family.SD2, "v_prediction", 128)
    (encoder,) = model.text_encoders
    ids = torch.tensor([[1112, 5, 6, 1113, 0]])
    written = sd2.texts[0].text_model
    with torch.no_grad():
        states = sd2.texts[0](input_ids=ids, output_hidden_states=True).hidden_states
        expected = written.final_layer_norm(states[LAYERS - 1])
        torch.testing.assert_close(encoder.network(input_ids=ids).last_hidden_state, expected)
    expected = sd2.unet.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.unet.state_dict().items())


def test_a_lora_for_sd2_draws(sd2: Tiny, tmp_path: Path):
    write_lora(sd2, tmp_path / "one.safetensors", 1, "diffusers")
    model, library = load(sd2.path), Library(tmp_path)
    one, none = (
        generate(model, library, Picture(text, **SMALL)).images[0].tobytes()
        for text in ("a cat <lora:one:1:bind=cat>", "a cat")
    )
    assert one != none


def test_a_model_of_sd2_without_its_yaml_has_to_say_what_it_predicts(sd2: Tiny, tmp_path: Path):
    alone = tmp_path / "alone.safetensors"
    shutil.copy(sd2.path, alone)
    with pytest.raises(HostError, match=r"v2-inference.yaml or v2-inference-v.yaml"):
        load(alone)
    with pytest.raises(HostError, match=r"does not fit its yaml, or is not like other models of Stable Diffusion 2.x"):
        load(alone, tokenizer=sd2.path.parent / "tokenizer", prediction="v_prediction")


def test_what_is_said_wins_over_the_files(xl: Tiny):
    model = load(xl.path, prediction="v_prediction", zero_terminal_snr=True)
    assert (model.prediction, model.zero_terminal_snr) == ("v_prediction", True)
    half = load(xl.path, dtype=torch.bfloat16)
    assert half.dtype is torch.bfloat16
    assert {encoder.network.dtype for encoder in half.text_encoders} == {torch.bfloat16}
    assert half.vae.dtype is torch.float32, "SDXL's overflows in half precision"
    assert generate(half, Library(), Picture("a cat", **SMALL)).images[0].getextrema() != ((0, 0),) * 3


def test_a_schedule_that_ends_at_pure_noise():
    usual, pure = alphas_cumprod({}), alphas_cumprod({}, zero_terminal_snr=True)
    assert float(usual[-1]) == pytest.approx(0.004660, abs=1e-6)
    assert float(pure[0]) == pytest.approx(float(usual[0]))
    assert 0.0 < float(pure[-1]) < 1e-7
    assert bool((pure.diff() < 0).all())


def _changed(xl: Tiny, path: Path, tensors: dict[str, torch.Tensor | None]) -> Path:
    """The checkpoint with other tensors, or without those that are None."""
    found = {**load_file(str(xl.path)), **tensors}
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, str(path))
    path.with_suffix(".yaml").write_text(xl.path.with_suffix(".yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("conditioner.embedders.1.model.ln_final.weight", None, "no whole checkpoint"),
        ("model.diffusion_model.input_blocks.0.0.weight", None, "no whole checkpoint"),
        ("model.diffusion_model.input_blocks.0.0.weight", torch.zeros(32, 9, 3, 3), "for inpainting or editing"),
        ("model.diffusion_model.out.2.bias", torch.zeros(5), "does not fit its yaml"),
        ("conditioner.embedders.1.model.ln_final.bias", None, "text encoder does not fit its config.json: text_model"),
        ("conditioner.embedders.1.model.ln_final.bias", torch.zeros(5), "text encoder has other sizes"),
    ],
)
def test_a_checkpoint_that_is_not_like_others_is_refused(
    xl: Tiny, tmp_path: Path, name: str, tensor: torch.Tensor | None, words: str
):
    path = _changed(xl, tmp_path / "other.safetensors", {name: tensor})
    with pytest.raises(HostError, match=words):
        load(path, tokenizer=xl.path.parent / "tokenizer")


def test_files_that_are_something_else_are_refused(xl: Tiny, tmp_path: Path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a tensor file")
    with pytest.raises(HostError, match=r"broken.safetensors is no safetensors file"):
        load(broken)
    (tmp_path / "other.yaml").write_text("colour: red", encoding="utf-8")
    with pytest.raises(HostError, match=r"other.yaml is not the yaml of a checkpoint"):
        load(xl.path, tmp_path / "other.yaml")
    with pytest.raises(HostError, match="words is missing in"):
        load(xl.path, tokenizer=tmp_path / "words")


def test_missing_words_are_found_in_a_package_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vocabulary, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(vocabulary, "find_spec", lambda _: None)
    with pytest.raises(
        HostError, match=r"put vocab.json and merges.txt of openai/clip-vit-large-patch14 .* into .*tok"
    ):
        find_tokenizer(tmp_path / "tok")
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(vocabulary, "find_spec", lambda name: package if name == "clip" else None)
    merges = "a heading\nc a\nca t</w>"
    (tmp_path / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(merges.encode()))
    words = find_tokenizer(tmp_path / "tok")
    start, end = words.bos_token_id, words.eos_token_id
    letter = 2 * 256  # the merges stand behind all letters, and those that end a word
    assert words("Cat")["input_ids"] == [start, letter + 1, end] == [514, 513, 515]


def test_the_command_line_draws_with_a_users_own_checkpoint(xl: Tiny, tmp_path: Path, capsys):
    write_lora(xl, tmp_path / "loras" / "one.safetensors", 1)
    write_lora(xl, tmp_path / "loras" / "two.safetensors", 2, "diffusers")
    asked = ["a cat <lora:one:1:bind=cat> and a dog <lora:two:1:bind=dog>", "--steps", "2", "--size", "64x72"]
    files = ["--checkpoint", str(xl.path), "--lora-dir", str(tmp_path / "loras"), "--out", str(tmp_path / "out")]
    assert main([*asked, *files, "--sampler", "DPM++ 2M", "--dtype", "bfloat16", "--zero-terminal-snr"]) == 0
    picture = Image.open(capsys.readouterr().out.strip())
    assert picture.size == (64, 72)
    words = picture.text["parameters"]
    assert "Sampler: DPM++ 2M, Schedule type: Automatic, " in words
    assert "Model: tiny-xl, Noise Schedule: Zero Terminal SNR" in words


def test_the_command_line_draws_at_the_models_own_size(sd2: Tiny, tmp_path: Path, capsys):
    assert main(["a cat", "--steps", "2", "--checkpoint", str(sd2.path), "--out", str(tmp_path)]) == 0
    assert Image.open(capsys.readouterr().out.strip()).size == (128, 128)


def test_a_device_that_is_not_there_is_said(sd2: Tiny, tmp_path: Path, capsys):
    arguments = ["a cat", "--checkpoint", str(sd2.path), "--out", str(tmp_path), "--device"]
    for device in ("nonsense", "cuda:99"):
        assert main([*arguments, device]) == 2
        assert f"no device “{device}”" in capsys.readouterr().err
