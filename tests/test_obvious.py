"""The formulas and the single step of the obvious re-implementation are right: hand-computed values and properties."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.obvious import maths
from tests.obvious.step import BranchOutput, StepSettings, run_step

DOUBLE = torch.float64


def tensor(values: object) -> Tensor:
    """Float64 tensor of nested lists."""
    return torch.tensor(values, dtype=DOUBLE)


# --- independence -----------------------------------------------------------------------------------------------------


def test_the_package_imports_nothing_of_the_extension() -> None:
    files = sorted((Path(__file__).parent / "obvious").glob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            assert not any(name.split(".")[0] == "clora_ext" for name in [*names, module]), file.name


# --- loss -------------------------------------------------------------------------------------------------------------


def all_groups(count: int) -> list[list[list[int]]]:
    """Groups of `count` one-token words: token k in every branch, token count + k as trigger in its own."""
    return [[[k, count + k] if branch == k + 1 else [k] for branch in range(count + 1)] for k in range(count)]


def spot_maps(count: int) -> list[Tensor]:
    """Per branch, maps in which concept k and its trigger are one bright pixel of their own."""
    maps = torch.zeros(2 * count, count, 2, dtype=DOUBLE)
    for token in range(2 * count):
        maps[token, token % count, 0] = 1
    return [maps.clone() for _ in range(count + 1)]


def test_loss_of_four_given_vectors() -> None:
    groups = [[tensor([1.0, 0.0]), tensor([0.8, 0.6])], [tensor([0.0, 1.0]), tensor([0.6, 0.8])]]
    assert float(maths.info_nce(groups)) == pytest.approx(0.8707137571, abs=1e-10)


@pytest.mark.parametrize(("count", "negatives"), [(2, 4), (3, 10), (4, 18)])
def test_loss_of_identical_maps_is_the_log_of_the_negatives_and_one(count: int, negatives: int) -> None:
    torch.manual_seed(0)
    one = torch.rand(2, 2, dtype=DOUBLE)
    maps = [one.expand(2 * count, 2, 2) for _ in range(count + 1)]
    assert float(maths.contrastive_loss(maps, all_groups(count))) == pytest.approx(math.log(1 + negatives), abs=1e-9)


@pytest.mark.parametrize(("count", "floor"), [(2, 0.4327), (3, 0.8558), (4, 1.2343)])
def test_loss_of_separated_maps_is_the_floor(count: int, floor: float) -> None:
    loss = float(maths.contrastive_loss(spot_maps(count), all_groups(count)))
    negatives = (count - 1) * (count + 2)
    assert loss == pytest.approx(math.log(1 + negatives * math.exp(-2)), abs=1e-9)
    assert loss == pytest.approx(floor, abs=6e-5)


def test_one_concept_has_no_loss() -> None:
    assert maths.contrastive_loss(spot_maps(1), all_groups(1)) is None


def test_a_constant_map_gives_a_finite_loss_and_gradient() -> None:
    maps = torch.rand(4, 3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    maps[0] = 0.25
    maps.requires_grad_(True)
    loss = maths.contrastive_loss([maps, maps, maps], all_groups(2))
    (gradient,) = torch.autograd.grad(loss, maps)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


def test_several_tokens_of_one_embedding_are_averaged_before_they_are_stretched() -> None:
    maps = torch.rand(5, 3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    (vector,) = maths.concept_vectors([maps], [[(1, 3)]])
    assert torch.allclose(vector, maths.min_max((maps[1] + maps[3]) / 2), rtol=0, atol=1e-15)


# --- masks ------------------------------------------------------------------------------------------------------------


def test_the_threshold_is_strict_and_per_token() -> None:
    strong, weak = tensor([[1.0, 0.5], [0.51, 0.0]]), tensor([[0.0, 0.02], [0.01, 0.005]])
    assert maths.token_mask(strong, 0.5).tolist() == [[1, 0], [1, 0]]
    assert maths.token_mask(weak, 0.5).tolist() == [[0, 1], [0, 0]]
    maps = torch.stack([strong, weak])
    assert maths.branch_masks([maps, maps], [[], [0, 1]], 0.5)[1].tolist() == [[1, 1], [1, 0]]


def test_the_base_gets_what_nothing_covers_and_keeps_its_own() -> None:
    maps = tensor([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])
    none, left = maths.branch_masks([maps, maps], [[], [0]], 0.5)
    assert none.tolist() == [[0, 1, 1]]
    assert left.tolist() == [[1, 0, 0]]
    own, _ = maths.branch_masks([maps, maps], [[0], [0]], 0.5)
    assert own.tolist() == [[1, 1, 1]]


def test_a_branch_without_mask_tokens_is_refused() -> None:
    maps = torch.ones(1, 1, 1)
    with pytest.raises(ValueError, match="Branch 1 has no mask tokens"):
        maths.branch_masks([maps, maps], [[], []], 0.5)


def test_morphology_of_hand_made_figures() -> None:
    dot = tensor([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    square = tensor([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]])
    assert torch.equal(maths.dilate(dot), square)
    assert maths.erode(square).tolist() == [[1, 1, 0, 0, 0]] * 3
    assert maths.morphology(dot, ["opening"]).sum() == 0
    assert torch.equal(maths.morphology(square, ["opening"]), square)
    hole = square.clone()
    hole[1, 1] = 0
    assert torch.equal(maths.morphology(hole, ["closing"]), square)


def test_morphology_has_one_order_whatever_is_asked_first() -> None:
    dot = tensor([[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
    assert torch.equal(maths.morphology(dot, ["erode", "dilate"]), maths.erode(maths.dilate(dot)))
    assert maths.morphology(dot, ["erode", "dilate"]).sum() > 0
    assert maths.dilate(maths.erode(dot)).sum() == 0
    with pytest.raises(ValueError, match="choose from dilate"):
        maths.morphology(dot, ["blur"])


def test_smallest_margin() -> None:
    maps = tensor([[[1.0, 0.4, 0.27]], [[0.5, 0.5, 0.149]]])
    assert maths.smallest_margin([maps, maps], [[], [0]], 0.3) == pytest.approx(0.03)
    assert maths.smallest_margin([maps, maps], [[], [0, 1]], 0.3) == pytest.approx(0.001)
    assert maths.smallest_margin([maps, maps], [[], []], 0.3) == math.inf


# --- fusion and sampler -----------------------------------------------------------------------------------------------


def test_enlarge_is_nearest() -> None:
    mask = tensor([[1, 0], [0, 1], [1, 1]])
    expected = torch.nn.functional.interpolate(mask[None, None], size=(12, 8), mode="nearest")[0, 0]
    assert torch.equal(maths.enlarge(mask, 12, 8), expected)


def test_fusion_averages_where_masks_overlap() -> None:
    predictions = [tensor([[[[1.0, 1.0, 1.0]]]]), tensor([[[[2.0, 2.0, 2.0]]]]), tensor([[[[6.0, 6.0, 6.0]]]])]
    masks = [tensor([[1, 0, 0]]), tensor([[0, 1, 1]]), tensor([[0, 0, 1]])]
    assert maths.fuse(predictions, masks).flatten().tolist() == [1, 2, 4]


def test_guidance() -> None:
    assert float(maths.guide(tensor(1.0), tensor(3.0), 7.5)) == 16


def test_ddim_as_webui_counts_it() -> None:
    assert maths.ddim_timesteps(10) == [1, 101, 201, 301, 401, 501, 601, 701, 801, 901]
    assert maths.ddim_schedule(10)[0] == (901, 801)
    assert maths.ddim_schedule(10)[-1] == (101, 1)
    assert len(maths.ddim_schedule(10)) == 9


def test_a_ddim_step_with_the_true_noise_stays_on_the_line_between_picture_and_noise() -> None:
    generator = torch.Generator().manual_seed(3)
    clean, noise = (torch.randn(1, 4, 2, 2, dtype=DOUBLE, generator=generator) for _ in range(2))
    z = math.sqrt(0.2) * clean + math.sqrt(0.8) * noise
    expected = math.sqrt(0.6) * clean + math.sqrt(0.4) * noise
    assert torch.allclose(maths.ddim_step(z, noise, 0.2, 0.6), expected, rtol=0, atol=1e-14)


def test_switch_and_composite() -> None:
    assert [maths.switch_active(i, 2) for i in range(12)] == [0] * 5 + [1] * 5 + [0] * 2
    assert [maths.switch_active_released(i, 2) for i in range(12)] == [0] * 6 + [1] * 5 + [0]
    assert float(maths.composite([tensor(1.0), tensor(2.0), tensor(6.0)])) == 3


# --- step -------------------------------------------------------------------------------------------------------------


class ToyBranch:
    """A branch of smooth random functions of a float64 latent [1, 2, 4, 4] with maps of 6 tokens [6, 2, 2]."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.mix = torch.randn(6 * 4, 32, dtype=DOUBLE, generator=generator)
        self.shift = torch.randn(2, 2, dtype=DOUBLE, generator=generator)
        self.latents: list[Tensor] = []

    def __call__(self, z: Tensor) -> BranchOutput:
        self.latents.append(z.detach().clone())
        maps = torch.softmax((self.mix @ z.flatten()).reshape(6, 4), dim=0).reshape(6, 2, 2)
        first, second = (torch.sin(z + s[:, None, None]) for s in self.shift)
        return BranchOutput(uncond=first, cond=second, maps=maps)


TOY_GROUPS = [[[2], [1, 2], [3]], [[4], [5], [3, 4]]]
TOY_MASKS = [[], [1, 2], [3, 4]]


def toy() -> tuple[Tensor, list[ToyBranch]]:
    """A latent and three branches."""
    z = torch.randn(1, 2, 4, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(7))
    return 0.3 * z, [ToyBranch(seed) for seed in range(3)]


def toy_loss(z: Tensor, branches: list[ToyBranch]) -> float:
    """The loss at a latent."""
    return float(maths.contrastive_loss([branch(z).maps for branch in branches], TOY_GROUPS))


def test_the_gradient_of_a_step_agrees_with_finite_differences() -> None:
    z, branches = toy()
    (gradient,) = run_step(z, branches, TOY_GROUPS, TOY_MASKS, StepSettings(rounds=1)).gradients
    h = 1e-6
    for index in range(0, 32, 5):
        offset = torch.zeros(32, dtype=DOUBLE)
        offset[index] = h
        offset = offset.reshape(z.shape)
        slope = (toy_loss(z + offset, branches) - toy_loss(z - offset, branches)) / (2 * h)
        assert float(gradient.flatten()[index]) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_predictions_and_masks_are_those_of_before_the_last_update() -> None:
    z, branches = toy()
    plain = run_step(z, branches, TOY_GROUPS, TOY_MASKS, StepSettings())
    updated = run_step(z, branches, TOY_GROUPS, TOY_MASKS, StepSettings(rounds=1))
    assert torch.equal(plain.prediction, updated.prediction)
    assert all(torch.equal(a, b) for a, b in zip(plain.masks, updated.masks, strict=True))
    assert torch.equal(plain.z, z)
    assert plain.losses == ()
    assert torch.allclose(updated.z, z - 20 * updated.gradients[0], rtol=0, atol=1e-15)


def test_extra_rounds_repeat_forward_and_update() -> None:
    z, branches = toy()
    settings = StepSettings(rounds=3, alpha=0.05)
    result = run_step(z, branches, TOY_GROUPS, TOY_MASKS, settings)
    assert len(branches[0].latents) == 3
    one = StepSettings(rounds=1, alpha=0.05)
    for i in range(3):
        single = run_step(z, branches, TOY_GROUPS, TOY_MASKS, one)
        assert result.losses[i] == single.losses[0]
        z = single.z
    assert torch.equal(result.z, z)
    assert torch.equal(result.prediction, single.prediction)
    assert result.losses[2] < result.losses[0]


def test_the_order_of_the_loras_changes_nothing() -> None:
    z, (base, a, b) = toy()
    settings = StepSettings(rounds=2, alpha=1.0)
    one = run_step(z, [base, a, b], TOY_GROUPS, TOY_MASKS, settings)
    swapped_groups = [[group[0], group[2], group[1]] for group in reversed(TOY_GROUPS)]
    other = run_step(z, [base, b, a], swapped_groups, [TOY_MASKS[0], TOY_MASKS[2], TOY_MASKS[1]], settings)
    assert one.losses == pytest.approx(other.losses, rel=1e-12)
    assert torch.allclose(one.z, other.z, rtol=0, atol=1e-12)
    assert torch.allclose(one.prediction, other.prediction, rtol=0, atol=1e-10)
    assert torch.equal(one.masks[1], other.masks[2])
