"""The obvious pipeline is right: its parts against plain torch, the whole against the outputs of the authors' own code.

The whole reference pictures take minutes and run only with CLORA_SLOW=1; their first steps always run.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

diffusers = pytest.importorskip("diffusers", reason="the pipeline needs diffusers, which the WebUI does not bring")
from tests.obvious import loras, make_cases, parity, pipeline  # noqa: E402
from tests.slow import needs_time  # noqa: E402

DOUBLE = torch.float64


# --- parts ------------------------------------------------------------------------------------------------------------


class Layers(nn.Module):
    """The three kinds of layer that a plain LoRA can change."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 4)
        self.point = nn.Conv2d(5, 4, 1)
        self.conv = nn.Conv2d(5, 4, 3, padding=1)


def random_lora(down: tuple[int, ...], up: tuple[int, ...], name: str) -> dict[str, Tensor]:
    """A LoRA layer of rank 2 and alpha 3."""
    generator = torch.Generator().manual_seed(11)
    return {
        f"{name}.alpha": torch.tensor(3),
        f"{name}.lora_down.weight": torch.randn(*down, generator=generator),
        f"{name}.lora_up.weight": torch.randn(*up, generator=generator),
    }


def test_a_merged_linear_layer_adds_up_of_down() -> None:
    layers, x = Layers(), torch.randn(3, 5)
    before = layers.linear(x)
    weights = random_lora((2, 5), (4, 2), "lora_unet_linear")
    assert pipeline.merge_lora(layers, "lora_unet", weights, 0.7) == 1
    down, up = weights["lora_unet_linear.lora_down.weight"], weights["lora_unet_linear.lora_up.weight"]
    assert torch.allclose(layers.linear(x), before + 0.7 * 1.5 * (x @ down.T @ up.T), atol=1e-5)


@pytest.mark.parametrize(("name", "size"), [("point", 1), ("conv", 3)])
def test_a_merged_convolution_adds_up_of_down(name: str, size: int) -> None:
    layers, x = Layers(), torch.randn(1, 5, 6, 6)
    layer = getattr(layers, name)
    before = layer(x)
    weights = random_lora((2, 5, size, size), (4, 2, 1, 1), f"lora_unet_{name}")
    pipeline.merge_lora(layers, "lora_unet", weights, 0.7)
    down, up = weights[f"lora_unet_{name}.lora_down.weight"], weights[f"lora_unet_{name}.lora_up.weight"]
    delta = nn.functional.conv2d(nn.functional.conv2d(x, down, padding=size // 2), up)
    assert torch.allclose(layer(x), before + 0.7 * 1.5 * delta, atol=1e-5)


def test_unknown_layers_and_kinds_are_refused() -> None:
    with pytest.raises(KeyError):
        pipeline.merge_lora(Layers(), "lora_unet", random_lora((2, 5), (4, 2), "lora_unet_nowhere"), 1.0)
    weights = {**random_lora((2, 5), (4, 2), "lora_unet_linear"), "lora_unet_linear.dora_scale": torch.ones(1)}
    with pytest.raises(ValueError, match="no plain LoRA"):
        pipeline.merge_lora(Layers(), "lora_unet", weights, 1.0)


def small_unet() -> nn.Module:
    """A random UNet of the SD1 family with two levels."""
    torch.manual_seed(5)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        layers_per_block=1,
    )
    return unet.double().eval().requires_grad_(False)


def test_the_recorder_changes_no_output_and_keeps_only_the_wanted_layers() -> None:
    unet, z, text = small_unet(), torch.randn(2, 4, 8, 8, dtype=DOUBLE), torch.randn(2, 7, 16, dtype=DOUBLE)
    before = unet(z, torch.full((2,), 401), encoder_hidden_states=text).sample
    recorder = pipeline.record_maps(unet, 16)
    after = unet(z, torch.full((2,), 401), encoder_hidden_states=text).sample
    assert torch.allclose(after, before, rtol=0, atol=1e-12)
    assert [tuple(p.shape) for p in recorder.probabilities] == [(2, 4, 16, 7)] * 4
    maps = pipeline.mean_maps(recorder.probabilities, 4, 4)
    assert torch.allclose(maps.sum(dim=0), torch.ones(4, 4, dtype=DOUBLE))
    expected = torch.stack([p[:, :, 6, 3].mean() for p in recorder.probabilities]).mean()
    assert float(maps[3, 1, 2]) == pytest.approx(float(expected), rel=1e-12)


def test_a_job_counts_its_rounds() -> None:
    job = pipeline.Job((), (), (), update_until=3, extra_steps=(0, 2, 4), extra_rounds=2)
    assert [job.rounds(i) for i in range(6)] == [3, 1, 3, 0, 0, 0]


def test_noise_is_the_cpu_generators() -> None:
    torch.manual_seed(4)
    assert torch.equal(pipeline.first_noise(4, 64, 128)[0], torch.randn([4, 8, 16]))


# --- the authors' own outputs -----------------------------------------------------------------------------------------

FOLDER = parity.parity_folder()
needs_parity = pytest.mark.skipif(
    not (FOLDER / "golden").is_dir(), reason=f"no reference outputs in {FOLDER}: set CLORA_PARITY to their folder"
)


@pytest.fixture(scope="module")
def model() -> pipeline.Model:
    """The checkpoint of the reference outputs."""
    return parity.load_parity_model(FOLDER)


def golden(case: str) -> tuple[dict, Tensor, np.ndarray]:
    """Settings and figures, masks, and picture of a reference output."""
    stem = FOLDER / "golden" / case
    figures = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    picture = np.asarray(Image.open(stem.with_suffix(".png")).convert("RGB"))
    return figures, load_file(stem.with_suffix(".safetensors"))["mask"], picture


@needs_parity
def test_the_schedule_is_the_checkpoints(model: pipeline.Model) -> None:
    stored = load_file(FOLDER / "checkpoint" / "tiny-sd1.safetensors")["alphas_cumprod"].double()
    assert torch.allclose(model.alphas_cumprod, stored, rtol=0, atol=1e-7)


@needs_parity
def test_token_positions_are_those_of_the_reference(model: pipeline.Model) -> None:
    figures, _, _ = golden("A06-s1")
    base, cat, dog = figures["prompts"]
    assert pipeline.find_tokens(model.tokenizer, base, "dog") == figures["groups"][1][0]
    assert pipeline.find_tokens(model.tokenizer, cat, "sks cat") == figures["mask_indices"][1]
    assert pipeline.find_tokens(model.tokenizer, dog, "sks dog") == figures["mask_indices"][2]
    assert pipeline.find_tokens(model.tokenizer, base, "a", occurrence=1) == [4]
    with pytest.raises(ValueError, match="occurs 2 times"):
        pipeline.find_tokens(model.tokenizer, base, "a", occurrence=2)


@needs_parity
@pytest.mark.parametrize("case", ["A06-s1", "B-s1"])
def test_the_first_step_is_the_authors(model: pipeline.Model, case: str) -> None:
    figures, masks, _ = golden(case)
    job = parity.golden_job(FOLDER, case)
    prepared = pipeline.prepare(model, job, parity.parity_loras(FOLDER))
    _, (step,) = pipeline.denoise(model, job, prepared, figures["seed"], stop_after=1)
    assert torch.equal(torch.stack(step.masks).to(torch.uint8), masks[0])
    assert step.losses == pytest.approx(figures["loss"][:1], abs=1e-4)
    norms = [update["grad_norm"] for update in figures["updates"][:1]]
    assert [float(gradient.norm()) for gradient in step.gradients] == pytest.approx(norms, rel=1e-3)


@needs_parity
@needs_time
@pytest.mark.parametrize("case", ["A06-s1", "B-s1"])
def test_the_whole_picture_is_the_authors(model: pipeline.Model, case: str) -> None:
    figures, masks, picture = golden(case)
    (made,) = pipeline.run(model, parity.golden_job(FOLDER, case), parity.parity_loras(FOLDER))
    largest, mean = parity.picture_difference(picture, made.pixels)
    assert largest <= 2
    assert mean < 0.002
    assert torch.equal(made.masks, masks)
    losses = [loss for step in made.steps for loss in step.losses]
    assert losses == pytest.approx(figures["loss"], abs=1e-4)


# --- further outputs --------------------------------------------------------------------------------------------------

WRITTEN = make_cases.CHECKOUT / "tests" / "golden" / "obvious"


def test_a_recipe_always_gives_the_same_lora() -> None:
    like = {**random_lora((2, 5), (4, 2), "lora_unet_linear"), **random_lora((2, 4), (3, 2), "lora_te_fc")}
    plain, style, conv = (loras.random_lora(recipe, like) for recipe in loras.RECIPES)
    again = loras.random_lora(loras.RECIPES[0], like)
    assert plain.keys() == like.keys() == style.keys()
    assert all(torch.equal(plain[key], again[key]) for key in plain)
    assert not torch.equal(plain["lora_te_fc.lora_up.weight"], style["lora_te_fc.lora_up.weight"])
    assert len(conv) == len(like) + 3 * len(loras.CONVOLUTIONS)


def test_a_trigger_is_put_before_the_asked_occurrence() -> None:
    subject = make_cases.Subject("any", "cat", occurrence=1)
    assert make_cases.insert_trigger("a cat and a cat", subject) == "a cat and a sks cat"


@needs_parity
def test_a_scene_of_three_gives_the_tokens_counted_by_hand(model: pipeline.Model) -> None:
    (case,) = (case for case in make_cases.CASES if case.name == "three")
    job = make_cases.case_job(case, model.tokenizer)
    assert [branch.prompt for branch in job.branches] == [
        "a cat and a dog and a bunny",
        "a sks cat and a dog and a bunny",
        "a cat and a sks dog and a bunny",
        "a cat and a dog and a sks bunny",
    ]
    assert job.groups == (
        ((2,), (2, 3), (2,), (2,)),
        ((5,), (6,), (5, 6), (5,)),
        ((8,), (9,), (9,), (8, 9)),
    )
    assert job.mask_tokens == ((), (2, 3), (5, 6), (8, 9))


@needs_parity
def test_two_of_one_word_are_told_apart_by_their_place(model: pipeline.Model) -> None:
    (case,) = (case for case in make_cases.CASES if case.name == "twins")
    job = make_cases.case_job(case, model.tokenizer)
    assert job.groups == (((2,), (2, 3), (2,)), ((5,), (6,), (5, 6)))


@needs_parity
@pytest.mark.parametrize("name", ["weights", "style"])
def test_a_written_output_begins_as_the_pipeline_makes_it(
    model: pipeline.Model, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = json.loads((WRITTEN / f"{name}.json").read_text(encoding="utf-8"))
    (case,) = (case for case in make_cases.CASES if case.name == name)
    job = make_cases.case_job(case, model.tokenizer)
    files = parity.parity_loras(FOLDER)
    files |= loras.write_loras(tmp_path_factory.mktemp("loras"), files["tinyA"])
    assert {name: loras.fingerprint(files[name]) for name in written["loras"]} == written["loras"]
    _, (step,) = pipeline.denoise(model, job, pipeline.prepare(model, job, files), job.seeds[0], stop_after=1)
    first = written["pictures"][0]["steps"][0]
    assert [make_cases.mask_text(mask) for mask in step.masks] == first["masks"]
    assert step.losses == pytest.approx(first["losses"], abs=1e-5)


def test_every_written_output_is_complete() -> None:
    for case in make_cases.CASES:
        written = json.loads((WRITTEN / f"{case.name}.json").read_text(encoding="utf-8"))
        job = written["job"]
        assert [picture["seed"] for picture in written["pictures"]] == job["seeds"]
        for picture in written["pictures"]:
            assert len(picture["steps"]) == job["steps"] - 1
            assert min(step["margin"] for step in picture["steps"]) > make_cases.SMALLEST_MARGIN
            with Image.open(WRITTEN / f"{case.name}-s{picture['seed']}.png") as image:
                assert image.size == (job["width"], job["height"])
