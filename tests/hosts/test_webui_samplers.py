"""What is known of WebUI's samplers and models, as far as that needs no WebUI."""

from types import SimpleNamespace

import pytest
import torch

from clora_ext.hosts.webui.drive.families import loaded_family, lora_family
from clora_ext.hosts.webui.drive.noise_level import NoiseLevel
from clora_ext.hosts.webui.drive.samplers import MASKS_ONLY, TRAITS, in_threes, traits_of, trial_once, two_calls

ALPHAS = torch.linspace(0.999, 0.005, 1000)


def orders_of_dpm_fast(calls: int) -> list[int]:
    """Of its solver steps, as k-diffusion counts them."""
    whole = calls // 3 + 1
    return [3] * (whole - 2) + [2, 1] if calls % 3 == 0 else [3] * (whole - 1) + [calls % 3]


@pytest.mark.parametrize("steps", range(3, 31))
def test_dpm_fast_updates_at_the_first_call_of_each_solver_step(steps: int):
    expected: list[bool] = []
    for order in orders_of_dpm_fast(steps):
        expected += [False, *[True] * (order - 1)]
    assert [in_threes(call, steps)[1] for call in range(len(expected))] == expected


def test_calls_belong_to_steps():
    assert [two_calls(call, 3) for call in range(5)] == [(0, False), (0, True), (1, False), (1, True), (2, False)]
    assert [trial_once(call, 3) for call in range(4)] == [(0, False), (0, True), (1, False), (2, False)]


def test_all_samplers_of_webui_are_known_and_no_others():
    assert len(TRAITS) == 20
    assert traits_of("DPM adaptive") is MASKS_ONLY
    assert traits_of("Euler Negative") is None


def wrapper(parameterization: str, *, denoises: bool) -> SimpleNamespace:
    """A sampler's wrapper of a model."""
    model = SimpleNamespace(alphas_cumprod=ALPHAS, parameterization=parameterization)
    given = {"sigma_to_t": lambda sigma: 500.0 * torch.ones_like(sigma)} if denoises else {}
    return SimpleNamespace(inner_model=model, **given)


@pytest.mark.parametrize("parameterization", ["eps", "v"])
@pytest.mark.parametrize("denoises", [True, False])
def test_a_prediction_follows_a_moved_latent_as_the_held_output_says(parameterization: str, denoises: bool):
    """Against the wrapper's own arithmetic with an output that is held, before and after a move of x."""
    alpha = float(ALPHAS[500].double().sqrt())
    noise_share = (1 - alpha**2) ** 0.5
    sigma = noise_share / alpha
    level = NoiseLevel(wrapper(parameterization, denoises=denoises), torch.tensor([sigma if denoises else 500.0]))
    assert level.alpha == pytest.approx(alpha)

    def predicted(x: float, output: float) -> float:
        z = x / level.scale
        noise = output if parameterization == "eps" else alpha * output + noise_share * z
        return x - sigma * noise if denoises else noise

    assert predicted(1.3, 0.7) - predicted(0.3, 0.7) == pytest.approx(level.follows, abs=1e-6)


def test_alpha_between_two_timesteps_is_linear_in_its_logarithm():
    found = [NoiseLevel(wrapper("eps", denoises=False), torch.tensor([at])).alpha for at in (700.0, 700.5, 701.0)]
    assert found[1] == pytest.approx((found[0] * found[2]) ** 0.5)
    assert NoiseLevel(wrapper("eps", denoises=False), torch.tensor([999.0])).alpha == pytest.approx(0.005**0.5)


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        ({"ss_base_model_version": "sdxl_base_v1-0"}, "SDXL"),
        ({"ss_base_model_version": "sd_v1"}, "Stable Diffusion 1.x"),
        ({"ss_base_model_version": "sd_v2_v"}, "Stable Diffusion 2.x"),
        ({"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "SDXL"),
        ({"modelspec.architecture": "flux-1-dev/lora"}, "Flux"),
        ({"ss_tag_frequency": "{}"}, None),
        ({}, None),
    ],
)
def test_a_loras_metadata_names_the_kind_of_model(metadata: dict[str, str], kind: str | None):
    assert lora_family(metadata) == kind


def test_the_loaded_family_is_the_hosts_own_mark():
    assert loaded_family(SimpleNamespace(is_sd1=False, is_sdxl=True)) == "SDXL"
    assert loaded_family(SimpleNamespace(is_sd3=True)) is None
    assert loaded_family(None) is None
