"""SDXL in the embedded host, on a tiny random model: parts, texts, samplers, LoRAs of both namings, exact checks."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
)
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTokenizerFast

from clora_ext.errors import LoraError
from clora_ext.hosts.diffusers import pipeline
from clora_ext.hosts.diffusers.architecture import Family
from clora_ext.hosts.diffusers.checkpoint import Model, load
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.hosts.diffusers.samplers import SAMPLERS
from clora_ext.lora.layers import deltas_of, unet_layers
from clora_ext.settings.profiles import build_settings
from tests.hosts.tiny_models import Added, Tiny, write_lora, write_xl
from tiny_world.model import TOKENIZER, WEIGHTS

SMALL = {"steps": 3, "cfg_scale": 4.0, "width": 64, "height": 96}
WORDS = "a cat and a dog in the grass"
TWO = "a cat <lora:one:{0}:bind=cat> and a dog <lora:two:{0}:bind=dog> in the grass"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("xl")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Tiny:
    return write_xl(folder)


@pytest.fixture(scope="module")
def added(tiny: Tiny, folder: Path) -> dict[str, Added]:
    """What the LoRAs ``one`` (sgm's names) and ``two`` (diffusers' names) add to the weights of ``tiny``."""
    namings = {"one": "ldm", "two": "diffusers"}
    return {
        name: write_lora(tiny, folder / "lora" / f"{name}.safetensors", seed, naming)
        for seed, (name, naming) in enumerate(namings.items())
    }


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> Model:
    return load(tiny.path)


@pytest.fixture(scope="module")
def library(added: dict[str, Added], folder: Path) -> Library:
    assert added
    return Library(folder / "lora")


@pytest.fixture
def latents(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The last latents of everything that is drawn, which is not decoded."""
    found: list[Tensor] = []
    monkeypatch.setattr(pipeline, "_decode", lambda _, latent: found.append(latent) or ())
    return found


def _far(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


def _merged(model: Model, added: Added) -> Model:
    """The model with a LoRA in its weights."""
    unet = copy.deepcopy(model.unet)
    networks = [unet, *(copy.deepcopy(encoder.network) for encoder in model.text_encoders)]
    for (number, name), weight in added.items():
        layer = networks[number].get_submodule(name)
        layer.weight.data += weight
    encoders = zip(model.text_encoders, networks[1:], strict=True)
    return replace(model, unet=unet, text_encoders=tuple(replace(own, network=new) for own, new in encoders))


def test_every_part_is_loaded_as_it_was_written(tiny: Tiny, model: Model):
    assert model.family is Family.SDXL
    assert (model.prediction, model.size, model.zero_terminal_snr) == ("epsilon", 1024, False)
    networks = [model.unet, model.vae, *(encoder.network for encoder in model.text_encoders)]
    for written, read in zip([tiny.unet, tiny.vae, *tiny.texts], networks, strict=True):
        expected = written.state_dict()
        assert expected.keys() == read.state_dict().keys()
        for name, tensor in read.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, msg=name)


# -- the host draws what diffusers draws ------------------------------------------------------------------------------

THEIRS: dict[str, Callable[..., Any]] = {
    "DDIM": lambda **more: DDIMScheduler(
        clip_sample=False, set_alpha_to_one=False, timestep_spacing="leading", steps_offset=1, **more
    ),
    "Euler": lambda **more: EulerDiscreteScheduler(timestep_spacing="linspace", **more),
    "Euler a": lambda **more: EulerAncestralDiscreteScheduler(timestep_spacing="linspace", **more),
    "DPM++ 2M": lambda **more: DPMSolverMultistepScheduler(use_karras_sigmas=True, **more),
}
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def _by_diffusers(tiny: Tiny, scheduler: Any, picture: Picture) -> list[Tensor]:
    """The latents of every step of diffusers' own pipeline."""
    first = CLIPTokenizerFast.from_pretrained(TOKENIZER, local_files_only=True)
    padding = first.convert_ids_to_tokens(0)
    second = CLIPTokenizerFast.from_pretrained(TOKENIZER, local_files_only=True, pad_token=padding)
    pipe = StableDiffusionXLPipeline(tiny.vae, *tiny.texts, first, second, tiny.unet, scheduler, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(picture.seeds[0])
    noise = torch.randn((1, 4, picture.height // 8, picture.width // 8), generator=generator)
    found: list[Tensor] = []

    def after_step(_: Any, step: int, timestep: Tensor, values: dict[str, Tensor]) -> dict[str, Tensor]:
        found.append(values["latents"])
        return values

    pipe(
        picture.prompt,
        negative_prompt=picture.negative or None,
        latents=noise,
        generator=generator,
        height=picture.height,
        width=picture.width,
        num_inference_steps=picture.steps,
        guidance_scale=picture.cfg_scale,
        output_type="latent",
        callback_on_step_end=after_step,
    )
    return found


@pytest.mark.parametrize("negative", ["", "blurry"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_without_loras_is_that_of_diffusers_pipeline(
    tiny: Tiny, model: Model, library: Library, latents: list[Tensor], name: str, negative: str
):
    picture = Picture(WORDS, negative, (7,), 10, 4.0, 64, 96, sampler=name)
    generate(model, library, picture)
    expected = _by_diffusers(tiny, THEIRS[name](**SCHEDULE), picture)
    last = -2 if name == "DDIM" else -1  # WebUI's DDIM leaves the last timestep, 1, out
    torch.testing.assert_close(latents[0], expected[last], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_so_is_that_of_a_model_that_predicts_velocity(
    tmp_path: Path, library: Library, latents: list[Tensor], name: str
):
    tiny = write_xl(tmp_path, v=True)
    picture = Picture(WORDS, "", (7,), 10, 4.0, 64, 96, sampler=name)
    generate(load(tiny.path), library, picture)
    expected = _by_diffusers(tiny, THEIRS[name](prediction_type="v_prediction", **SCHEDULE), picture)
    last = -2 if name == "DDIM" else -1
    torch.testing.assert_close(latents[0], expected[last], rtol=1e-4, atol=1e-4)


def test_and_one_whose_file_says_that_its_noise_is_pure(tmp_path: Path, library: Library, latents: list[Tensor]):
    tiny = write_xl(tmp_path, keys=("v_pred", "ztsnr"))
    model = load(tiny.path)
    assert (model.prediction, model.zero_terminal_snr) == ("v_prediction", True)
    picture = Picture(WORDS, "", (7,), 10, 4.0, 64, 96, sampler="Euler")
    generate(model, library, picture)
    theirs = THEIRS["Euler"](prediction_type="v_prediction", rescale_betas_zero_snr=True, **SCHEDULE)
    theirs.alphas_cumprod[-1] = 4.8973451890853435e-08  # WebUI's; diffusers has 2**-24
    expected = _by_diffusers(tiny, theirs, picture)
    torch.testing.assert_close(latents[0], expected[-1], rtol=1e-3, atol=1e-3)


# -- what must be equal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
def test_loras_of_weight_0_and_an_update_of_size_0_change_nothing(model: Model, library: Library, name: str):
    small = {**SMALL, "sampler": name}
    plain = generate(model, library, Picture(WORDS, **small))
    nothing = generate(model, library, Picture(TWO.format(0), **small), build_settings(method="masks"))
    assert _far(nothing.images[0], plain.images[0]) <= 1
    still, masks = (
        generate(model, library, Picture(TWO.format(1), **small), wanted).images[0]
        for wanted in (
            build_settings("balanced", step_size=0.0, uncond="branches"),
            build_settings("balanced", method="masks", uncond="branches"),
        )
    )
    assert _far(still, masks) <= 1
    assert _far(masks, plain.images[0]) > 5


@pytest.mark.parametrize("names", [("one", "two"), ("two", "one")])
def test_a_switch_that_never_switches_is_a_lora_in_the_weights(
    model: Model, library: Library, added: dict[str, Added], names: tuple[str, str]
):
    """In both namings; text encoders, the pooled text and the UNet."""
    numbers = {**SMALL, "negative": "blurry", "sampler": "Euler a"}
    tagged = "a cat <lora:{}:1:bind=cat> and a dog <lora:{}:1:bind=dog> in the grass".format(*names)
    found = generate(model, library, Picture(tagged, **numbers), build_settings(method="switch", switch_every=100))
    expected, plain = (
        generate(each, library, Picture(WORDS, **numbers)) for each in (_merged(model, added[names[0]]), model)
    )
    assert _far(found.images[0], expected.images[0]) <= 1
    assert _far(found.images[0], plain.images[0]) > 5


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_update_moves_the_picture(model: Model, library: Library, name: str):
    picture = Picture(TWO.format(1), sampler=name, **SMALL)
    moved, masks = (
        generate(model, library, picture, build_settings(method=method)).images[0] for method in ("clora", "masks")
    )
    assert _far(moved, masks) > 2


def test_noise_of_an_ancestral_sampler_is_each_pictures_own(model: Model, library: Library):
    both = generate(model, library, Picture(WORDS, seeds=(1, 2), sampler="Euler a", **SMALL))
    alone = generate(model, library, Picture(WORDS, seeds=(2,), sampler="Euler a", **SMALL))
    assert _far(both.images[1], alone.images[0]) <= 2
    assert _far(both.images[0], both.images[1]) > 20


# -- LoRAs ------------------------------------------------------------------------------------------------------------


def test_both_namings_mean_the_same_layers(model: Model, tiny: Tiny, tmp_path: Path):
    for naming in ("ldm", "diffusers"):
        write_lora(tiny, tmp_path / f"{naming}.safetensors", 3, naming)
    library = Library(tmp_path)
    ldm, diffusers = (
        deltas_of(library.file(naming), unet_layers(model.unet, model.unet_names), 1.0)
        for naming in ("ldm", "diffusers")
    )
    assert len(ldm) == len([name for name, layer in model.unet.named_modules() if _is_adapted(name, layer)])
    assert ldm.keys() == diffusers.keys()
    assert all(torch.equal(ldm[layer].up, diffusers[layer].up) for layer in ldm)


def _is_adapted(name: str, layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and ".attentions." in name


def test_a_lora_of_another_kind_of_model_is_named(model: Model, library: Library, folder: Path, tmp_path: Path):
    with pytest.raises(LoraError, match="does not fit this checkpoint"):
        generate(model, Library(WEIGHTS / "lora"), Picture("a vako cat <lora:tuxcat:1>", **SMALL))
    own = library.file("one")
    for width, words in ((768, "Stable Diffusion 1.x"), (1024, "Stable Diffusion 2.x"), (2048, "SDXL")):
        tensors = dict(own.tensors)
        key = next(key for key in tensors if key.endswith("attn2_to_k.lora_down.weight"))
        tensors[key] = torch.zeros(2, width)
        other = Library(folder / "lora")
        up = key.replace("down", "up")
        other._files["one"] = replace(own, tensors={key: tensors[key], up: tensors[up]})
        with pytest.raises(LoraError, match=f"one was made for {words}, this checkpoint is a model with texts 128"):
            generate(model, other, Picture("a cat <lora:one:1:bind=cat>", **SMALL))
