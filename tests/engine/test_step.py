"""One step of the engine against the slow, obvious one, on a small UNet in float64; and what must not matter."""

import pytest
import torch

from clora_ext.batch.rows import Half, Row
from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine.gradient import predict_rows
from clora_ext.errors import HostError
from clora_ext.settings.profiles import build_settings
from tests.engine.setup import merged, predicted, random_loras, running, setup, take_step
from tests.obvious import maths
from tests.obvious.step import BranchOutput, StepSettings, run_step
from tests.toy import ToyDenoiser, ToyHost, ToyTexts

BY_BRANCH = {"uncond": "branches"}
"""An unconditional row for every branch."""


def _obvious_branches(unet, deltas, conditions, factor):
    """Branch b as the reference wants it: its own merged network, maps of all tokens by an explicit softmax."""

    def branch(b: int):
        network = unet if b == 0 else merged(unet, deltas[f"L{b}"])
        outer = [network.input_blocks[1], network.output_blocks[1]]
        blocks = outer if factor == 1 else [network.middle_block]

        def call(z: torch.Tensor) -> BranchOutput:
            found = []
            hooks = [
                block.attn2.register_forward_pre_hook(
                    lambda layer, args: found.append(
                        torch.softmax(
                            (layer.to_q(args[0]).unflatten(-1, (2, -1)).transpose(1, 2))
                            @ (layer.to_k(args[1]).unflatten(-1, (2, -1)).permute(0, 2, 3, 1))
                            * layer.scale,
                            dim=-1,
                        )
                    )
                )
                for block in blocks
            ]
            context = torch.stack([conditions[Row(0, b, Half.UNCOND)], conditions[Row(0, b, Half.COND)]])
            out = network(torch.cat([z, z]), context)
            for hook in hooks:
                hook.remove()
            size = (z.shape[-2] // factor, z.shape[-1] // factor)
            maps = torch.stack(found).mean(dim=(0, 1, 2)).T.unflatten(-1, size)
            return BranchOutput(out[:1], out[1:], maps)

        return call

    return [branch(b) for b in range(len(deltas) + 1)]


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
@pytest.mark.parametrize(("k", "size", "factor"), [(2, (16, 24), 1), (2, (24, 32), 2), (3, (16, 16), 1)])
@pytest.mark.parametrize("rounds", [0, 2])
def test_the_authors_step_equals_the_obvious_one(dtype, rtol, k, size, factor, rounds):
    unet, conditions, latent = setup(k, size, dtype)
    loras = random_loras(unet, k, dtype)
    knobs = {"rounds_at": "0", "rounds": rounds} if rounds else {}
    wanted = build_settings("authors", mask_threshold=0.6, **knobs)
    found = take_step(ToyHost(unet, loras, conditions), wanted, latent, k)
    (plan,) = found.composition.plans.at(0)
    groups = [
        [[c for word in plan.words(b) if word.concept == concept for c in word.columns] for b in range(k + 1)]
        for concept in range(k)
    ]
    tokens = [[], *([*plan.concepts[c].trigger, *plan.concepts[c].subject[c + 1]] for c in range(k))]
    branches = _obvious_branches(unet, loras, conditions, factor)
    expected = run_step(latent, branches, groups, tokens, StepSettings(threshold=0.6, rounds=1 + rounds))

    report = found.composition.report.steps[0]
    assert report.losses == pytest.approx(expected.losses, rel=rtol)
    moved = (found.move.latent - latent).to(torch.float64)
    torch.testing.assert_close(moved, (expected.z - latent).to(torch.float64), rtol=rtol * 10, atol=rtol)
    assert moved.abs().max() > 0
    regions = found.composition.report.region_masks[0]
    masks = torch.stack(list(expected.masks)).float()
    flipped = int(((regions > 0) != (masks > 0)).sum())
    assert flipped == 0 or expected.margin < 1e-6
    assert flipped <= max(1, masks.numel() // 10_000)
    if not flipped:
        torch.testing.assert_close(found.fused.cond, expected.cond, rtol=rtol, atol=rtol)
        torch.testing.assert_close(found.fused.uncond, expected.uncond, rtol=rtol, atol=rtol)


def test_the_words_of_a_prompt_stand_where_the_host_says():
    unet, conditions, _ = setup(2, (16, 16))
    with running(ToyHost(unet, random_loras(unet, 2), conditions), build_settings(), 2) as (composition, _):
        first, second = composition.plans.at(0)[0].concepts
    assert (first.subject, first.trigger) == (((1,), (2,), (1,)), (1,))
    assert (second.subject, second.trigger) == (((2,), (3,), (3,)), (2,))


def test_the_gradient_agrees_with_finite_differences():
    unet, conditions, latent = setup(2, (12, 12))
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    wanted = build_settings("paper", rounds_at="", step_size=1.0)

    def loss(z: torch.Tensor) -> float:
        return take_step(host, wanted, z, 2).composition.report.steps[0].losses[0]

    gradient = latent - take_step(host, wanted, latent, 2).move.latent  # the step size is 1
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        direction = torch.randn(latent.shape, generator=generator, dtype=torch.float64)
        step = 1e-5
        slope = (loss(latent + step * direction) - loss(latent - step * direction)) / (2 * step)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-10)


def test_predictions_are_those_of_the_last_gradient_pass():
    unet, conditions, latent = setup(2, (16, 16))
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    once = take_step(host, build_settings("authors"), latent, 2)
    assert once.move.predict_from is latent
    assert once.composition.report.steps[0].rows == 0
    twice = take_step(host, build_settings("authors", rounds_at="0", rounds=1), latent, 2)
    torch.testing.assert_close(twice.move.predict_from, once.move.latent)  # before the last of two updates


def test_weights_that_are_stored_in_eight_bits_do_not_round_the_loras():
    unet, conditions, latent = setup(2, (16, 16), torch.float32)
    host, wanted = ToyHost(unet, random_loras(unet, 2, torch.float32), conditions), build_settings("authors")
    before = take_step(host, wanted, latent, 2).fused
    stored = torch.zeros(1, dtype=torch.float8_e4m3fn)
    unet.register_parameter("first", torch.nn.Parameter(stored, requires_grad=False))
    torch.testing.assert_close(take_step(host, wanted, latent, 2).fused.cond, before.cond)


@pytest.mark.parametrize("splits", [[1] * 6, [2, 1, 3], [5, 1]])
def test_how_the_batch_is_split_changes_nothing(splits: list[int]):
    unet, conditions, latent = setup(2, (16, 16))
    host, wanted = ToyHost(unet, random_loras(unet, 2), conditions), build_settings("balanced", "masks", **BY_BRANCH)
    whole = take_step(host, wanted, latent, 2).fused
    parts = take_step(host, wanted, latent, 2, splits).fused
    torch.testing.assert_close(parts.cond, whole.cond)
    torch.testing.assert_close(parts.uncond, whole.uncond)


def test_images_of_a_batch_do_not_touch_each_other():
    unet, conditions, latent = setup(2, (16, 16), images=2)
    loras, wanted = random_loras(unet, 2), build_settings("balanced")
    both = take_step(ToyHost(unet, loras, conditions), wanted, latent, 2)
    for image in (0, 1):
        own = {Row(0, row.branch, row.half): c for row, c in conditions.items() if row.image == image}
        alone = take_step(ToyHost(unet, loras, own), wanted, latent[image : image + 1], 2)
        torch.testing.assert_close(both.move.latent[image], alone.move.latent[0])
        torch.testing.assert_close(both.fused.cond[image], alone.fused.cond[0])
        regions = both.composition.report.region_masks[image]
        torch.testing.assert_close(regions, alone.composition.report.region_masks[0])


def test_the_order_of_the_loras_changes_nothing():
    unet, conditions, latent = setup(2, (16, 16))
    loras = random_loras(unet, 2)
    prompt = "za one and then zb two"
    bindings = [
        {"lora": "L1", "subject": "one", "trigger": "za"},
        {"lora": "L2", "subject": "two", "trigger": "zb"},
    ]
    other = {1: 2, 2: 1, 0: 0}
    swapped = {Row(0, other[row.branch], row.half): text for row, text in conditions.items()}
    wanted = build_settings("balanced")
    first = take_step(ToyHost(unet, loras, conditions), wanted, latent, 2, prompt=prompt, bindings=bindings)
    second = take_step(ToyHost(unet, loras, swapped), wanted, latent, 2, prompt=prompt, bindings=bindings[::-1])
    assert second.composition.loras.by_branch[1] == ["L2@1"]
    torch.testing.assert_close(first.move.latent, second.move.latent)
    torch.testing.assert_close(first.fused.cond, second.fused.cond)


def test_many_loras_in_one_call():
    unet, conditions, latent = setup(8, (16, 16))
    conditions = {row: torch.cat([text, text, text])[:20] for row, text in conditions.items()}
    host = ToyHost(unet, random_loras(unet, 8), conditions)
    found = take_step(host, build_settings("balanced", "masks", **BY_BRANCH), latent, 8)
    assert torch.isfinite(found.fused.cond).all()
    assert found.composition.report.steps[0].rows == 18
    assert len(found.composition.report.region_masks[0]) == 9


def test_hooks_leave_no_trace_after_success_and_error():
    unet, conditions, latent = setup(2, (16, 16))
    loras = random_loras(unet, 2)
    denoiser = ToyDenoiser(unet, ToyTexts(conditions))
    before = predicted(denoiser, [Row(0, 0)], latent)
    take_step(ToyHost(unet, loras, conditions), build_settings("balanced"), latent, 2)
    broken = {k: v for k, v in conditions.items() if k.branch != 2}
    with pytest.raises(KeyError):
        take_step(ToyHost(unet, loras, broken), build_settings("balanced"), latent, 2)
    assert torch.equal(predicted(denoiser, [Row(0, 0)], latent)[Row(0, 0)], before[Row(0, 0)])
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in unet.modules())
    assert all(parameter.requires_grad for parameter in unet.parameters())


def test_masks_lock_at_the_mean_of_the_last_three():
    unet, conditions, latent = setup(2, (16, 16))
    host, seen = ToyHost(unet, random_loras(unet, 2), conditions), []
    with running(host, build_settings("balanced", "masks", lock_at=50), 2) as (composition, denoiser), torch.no_grad():
        for index in range(8):
            move = composition.before(SamplingPoint(index, 8, 1 - index / 8), latent * (1 + index), denoiser)
            composition.after(predicted(denoiser, composition.open_step().rows, move.predict_from))
            seen.append(composition.report.region_masks[0])
    last = composition.masks[0]._history[-1].float()
    torch.testing.assert_close(seen[4], torch.stack([seen[2], seen[3], last]).mean(0))
    assert all(torch.equal(later, seen[4]) for later in seen[4:])
    assert not torch.equal(seen[3], seen[4])


@pytest.mark.parametrize(("method", "rows"), [("composite", 4), ("switch", 2), ("masks", 6), ("merge", 2)])
def test_the_rows_of_every_method(method: str, rows: int):
    unet, conditions, latent = setup(2, (16, 16))
    wanted = build_settings("balanced", method, switch_every=2, route=False, uncond="branches")
    active = []
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    with running(host, wanted, 2) as (composition, denoiser), torch.no_grad():
        for index in range(6):
            move = composition.before(SamplingPoint(index, 6, 1 - index / 6), latent, denoiser)
            assert move.latent is latent
            step = composition.open_step()
            assert len(step.rows) == rows
            active.append(step.plan.host_branch)
            out = predicted(denoiser, step.rows, move.predict_from)
            fused = composition.after(out)
    if method == "switch":
        assert active == [1, 1, 2, 2, 1, 1]
    if method == "composite":
        first, second, *_ = out.values()
        torch.testing.assert_close(fused.cond[0], maths.composite([first[None], second[None]])[0])


def test_uncond_rows_that_the_host_left_out_take_the_conditional_ones():
    unet, conditions, latent = setup(2, (16, 16))
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    with running(host, build_settings("paper", "masks"), 2) as (composition, denoiser), torch.no_grad():
        composition.before(SamplingPoint(0, 10, 0.9), latent, denoiser)
        rows = composition.open_step().rows[:-1]
        fused = composition.after(predicted(denoiser, rows, latent))
    assert torch.equal(fused.cond, fused.uncond)


def test_an_infinite_gradient_moves_nothing_and_says_so():
    unet, conditions, latent = setup(2, (16, 16))
    conditions = {row: text * (float("inf") if row.branch == 1 else 1.0) for row, text in conditions.items()}
    found = take_step(ToyHost(unet, random_loras(unet, 2), conditions), build_settings("balanced"), latent, 2)
    assert torch.equal(found.move.latent, latent)
    assert "not finite" in found.composition.report.steps[0].notes[0]


def test_a_model_without_the_wanted_maps_is_refused():
    unet, conditions, latent = setup(2, (16, 16))
    none = {f"L{c}": {} for c in (1, 2)}
    with pytest.raises(HostError, match="cross-attention"):
        take_step(ToyHost(torch.nn.Linear(2, 2), none, conditions), build_settings(), latent, 2)
    with running(ToyHost(unet, none, conditions), build_settings(), 2) as (composition, denoiser), torch.no_grad():
        move = composition.before(SamplingPoint(0, 10, 0.9), latent, denoiser)
        step = composition.open_step()
        composition.tools.recorder.start((48, 48))
        predict_rows(denoiser, step.facts.conditions, move.predict_from, step.rows)
        with pytest.raises(HostError, match="48x48"):
            composition.tools.recorder.take()


def test_a_report_is_plain_data():
    unet, conditions, latent = setup(2, (16, 16))
    host = ToyHost(unet, random_loras(unet, 2), conditions)
    composition = take_step(host, build_settings("balanced", **BY_BRANCH), latent, 2).composition
    data = composition.report.as_dict()
    assert data["unet_rows"] == 6
    assert len(data["masks"][0]) == 3
    masks, maps = torch.tensor(data["masks"][0]), torch.tensor(data["maps"][0])
    assert maps.shape == masks[1:].shape
    for mask, seen in zip(masks[1:], maps, strict=True):
        assert mask.flatten()[seen.argmax()] > 0, "a subject draws where its words are looked at most"
    assert data["seconds"] > 0
    assert data["settings"]["profile"] == "balanced"
    assert [step.index for step in host.steps] == [0], "the host is told"
