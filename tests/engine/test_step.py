"""One step of the engine against the slow, obvious one, on a small UNet in float64; and what must not matter."""

import copy

import pytest
import torch
from torch import nn

from clora_ext.core.concepts import Concept, Plan
from clora_ext.core.rows import Half, Row
from clora_ext.core.schedule import Moment
from clora_ext.engine.session import installed
from clora_ext.engine.step import Composition
from clora_ext.errors import HostError
from clora_ext.lora.deltas import LowRank
from clora_ext.settings import settings
from tests.obvious import maths
from tests.obvious.step import BranchOutput, StepSettings, run_step
from tests.toy import ToyDenoiser, ToyUNet, texts

MOMENT = Moment(0, 10, 0.9)
ANEW = {"refresh": True, "uncond": "branches"}
"""Every row of every step is predicted by itself, one per branch in both halves."""
CPU = torch.device("cpu")


def _plan(k: int) -> Plan:
    """K one-token subjects at columns 1, 2 ...; triggers stand right before, so a branch's own subject moves by one."""
    return Plan(
        tuple(
            Concept(str(c), tuple((c + 1 + (b != 0 and b <= c + 1),) for b in range(k + 1)), trigger=(c + 1,))
            for c in range(k)
        )
    )


def _deltas(unet: ToyUNet, k: int, dtype: torch.dtype = torch.float64) -> dict[str, dict[nn.Module, LowRank]]:
    generator = torch.Generator().manual_seed(5)
    found = {}
    for c in range(k):
        changes = {}
        for layer in unet.modules():
            if isinstance(layer, nn.Linear):
                down = torch.randn(2, layer.in_features, generator=generator)
                up = torch.randn(layer.out_features, 2, generator=generator)
                changes[layer] = LowRank(down.to(dtype), up.to(dtype), 0.15)
        found[f"L{c + 1}"] = changes
    return found


def _merged(unet: ToyUNet, changes: dict[nn.Module, LowRank]) -> ToyUNet:
    """A copy of the UNet with the LoRA added to its weights."""
    names = {layer: name for name, layer in unet.named_modules()}
    merged = copy.deepcopy(unet)
    for layer, delta in changes.items():
        target = merged.get_submodule(names[layer])
        with torch.no_grad():
            target.weight += delta.scale * delta.up @ delta.down
    return merged


def _obvious_branches(unet, deltas, conditions, factor):
    """Branch b as the reference wants it: its own merged network, maps of all tokens by an explicit softmax."""

    def branch(b: int):
        network = unet if b == 0 else _merged(unet, deltas[f"L{b}"])
        blocks = [network.blocks[0], network.blocks[2]] if factor == 1 else [network.blocks[1]]

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


def _setup(k: int, size: tuple[int, int], dtype: torch.dtype = torch.float64, images: int = 1):
    unet = ToyUNet().to(dtype)
    conditions = {row: text.to(dtype) for row, text in texts(images, k + 1).items()}
    latent = torch.randn(images, 4, *size, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(dtype)
    return unet, conditions, latent


def _compose(unet, deltas, conditions, latent, wanted, plan, splits=None):
    k = len(deltas)
    worn = {0: (), **{b: (f"L{b}",) for b in range(1, k + 1)}}
    composition = Composition([plan] * len(latent), worn, wanted)
    denoiser = ToyDenoiser(unet, conditions)
    with installed(composition, unet, deltas, CPU):
        move = composition.before(MOMENT, latent, denoiser)
        rows = composition.rows
        with torch.no_grad():
            parts = splits or [len(rows)] * bool(rows)
            ends = torch.tensor(parts).cumsum(0).tolist()
            out = [denoiser.forward(move.at, rows[e - p : e]) for p, e in zip(parts, ends, strict=True)]
        fused = composition.after(dict(zip(rows, (one for part in out for one in part), strict=True)))
    return composition, move, fused


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
@pytest.mark.parametrize(("k", "size", "factor"), [(2, (16, 24), 1), (2, (24, 32), 2), (3, (16, 16), 1)])
@pytest.mark.parametrize("rounds", [0, 2])
def test_the_authors_step_equals_the_obvious_one(dtype, rtol, k, size, factor, rounds):
    unet, conditions, latent = _setup(k, size, dtype)
    deltas = _deltas(unet, k, dtype)
    wanted = settings("authors", rounds_at="0" if rounds else "", rounds=max(rounds, 1), mask_threshold=0.6)
    plan = _plan(k)
    composition, move, fused = _compose(unet, deltas, conditions, latent, wanted, plan)
    groups = [
        [[column for concept, columns in plan.words(b) if concept == c for column in columns] for b in range(k + 1)]
        for c in range(k)
    ]
    tokens = [[], *([*plan.concepts[c].trigger, *plan.concepts[c].subject[c + 1]] for c in range(k))]
    branches = _obvious_branches(unet, deltas, conditions, factor)
    expected = run_step(latent, branches, groups, tokens, StepSettings(threshold=0.6, rounds=1 + rounds))

    report = composition.report.steps[0]
    assert report.losses == pytest.approx(expected.losses, rel=rtol)
    moved = (move.latent - latent).to(torch.float64)
    torch.testing.assert_close(moved, (expected.z - latent).to(torch.float64), rtol=rtol * 10, atol=rtol)
    assert moved.abs().max() > 0
    weights = composition.report.weights[0]
    masks = torch.stack(list(expected.masks)).float()
    flipped = int(((weights > 0) != (masks > 0)).sum())
    assert flipped == 0 or expected.margin < 1e-6
    assert flipped <= max(1, masks.numel() // 10_000)
    if not flipped:
        torch.testing.assert_close(fused.cond, expected.cond, rtol=rtol, atol=rtol)
        torch.testing.assert_close(fused.uncond, expected.uncond, rtol=rtol, atol=rtol)


def test_the_gradient_agrees_with_finite_differences():
    unet, conditions, latent = _setup(2, (12, 12))
    deltas, plan = _deltas(unet, 2), _plan(2)
    wanted = settings("paper", rounds_at="", step_size=1.0, refresh=True)

    def loss(z: torch.Tensor) -> float:
        return _compose(unet, deltas, conditions, z, wanted, plan)[0].report.steps[0].losses[0]

    _, move, _ = _compose(unet, deltas, conditions, latent, wanted, plan)
    gradient = latent - move.latent  # the step size is 1
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        direction = torch.randn(latent.shape, generator=generator, dtype=torch.float64)
        step = 1e-5
        slope = (loss(latent + step * direction) - loss(latent - step * direction)) / (2 * step)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-10)


def test_stale_and_refreshed_predictions():
    unet, conditions, latent = _setup(2, (16, 16))
    deltas, plan = _deltas(unet, 2), _plan(2)
    stale = _compose(unet, deltas, conditions, latent, settings("authors"), plan)[1]
    fresh = _compose(unet, deltas, conditions, latent, settings("authors", refresh=True), plan)[1]
    assert stale.at is latent
    assert fresh.at is fresh.latent
    torch.testing.assert_close(stale.latent, fresh.latent)
    twice = settings("authors", rounds_at="0", rounds=1)
    last = _compose(unet, deltas, conditions, latent, twice, plan)[1]
    torch.testing.assert_close(last.at, stale.latent)  # the latent before the last of two updates


@pytest.mark.parametrize("splits", [[1] * 6, [2, 1, 3], [5, 1]])
def test_how_the_batch_is_split_changes_nothing(splits: list[int]):
    unet, conditions, latent = _setup(2, (16, 16))
    deltas, plan = _deltas(unet, 2), _plan(2)
    wanted = settings("balanced", **ANEW)
    whole = _compose(unet, deltas, conditions, latent, wanted, plan)[2]
    parts = _compose(unet, deltas, conditions, latent, wanted, plan, splits)[2]
    torch.testing.assert_close(parts.cond, whole.cond)
    torch.testing.assert_close(parts.uncond, whole.uncond)


def test_images_of_a_batch_do_not_touch_each_other():
    unet, conditions, latent = _setup(2, (16, 16), images=2)
    deltas, plan = _deltas(unet, 2), _plan(2)
    wanted = settings("balanced")
    both = _compose(unet, deltas, conditions, latent, wanted, plan)
    for image in (0, 1):
        alone_texts = {Row(0, row.branch, row.half): c for row, c in conditions.items() if row.image == image}
        alone = _compose(unet, deltas, alone_texts, latent[image : image + 1], wanted, plan)
        torch.testing.assert_close(both[1].latent[image], alone[1].latent[0])
        torch.testing.assert_close(both[2].cond[image], alone[2].cond[0])
        torch.testing.assert_close(both[0].report.weights[image], alone[0].report.weights[0])


def test_the_order_of_the_loras_changes_nothing():
    unet, conditions, latent = _setup(2, (16, 16))
    deltas = _deltas(unet, 2)
    plan = Plan((Concept("a", ((1,), (2,), (1,)), (1,)), Concept("b", ((4,), (5,), (5,)), (4,))))
    swapped = Plan((Concept("b", ((4,), (5,), (5,)), (4,)), Concept("a", ((1,), (1,), (2,)), (1,))))
    other = {1: 2, 2: 1, 0: 0}
    texts_swapped = {Row(0, other[row.branch], row.half): text for row, text in conditions.items()}
    first = _compose(unet, deltas, conditions, latent, settings("balanced"), plan)
    second = _compose(
        unet, {"L1": deltas["L2"], "L2": deltas["L1"]}, texts_swapped, latent, settings("balanced"), swapped
    )
    torch.testing.assert_close(first[1].latent, second[1].latent)
    torch.testing.assert_close(first[2].cond, second[2].cond)


def test_many_loras_in_one_call():
    unet, conditions, latent = _setup(8, (16, 16))
    conditions = {row: torch.cat([text, text, text])[:20] for row, text in conditions.items()}
    deltas = _deltas(unet, 8)
    composition, _, fused = _compose(unet, deltas, conditions, latent, settings("balanced", **ANEW), _plan(8))
    assert torch.isfinite(fused.cond).all()
    assert composition.report.steps[0].rows == 18
    assert len(composition.report.weights[0]) == 9


def test_hooks_leave_no_trace_after_success_and_error():
    unet, conditions, latent = _setup(2, (16, 16))
    deltas, plan = _deltas(unet, 2), _plan(2)
    row = [Row(0, 0)]
    before = ToyDenoiser(unet, conditions).forward(latent, row)
    _compose(unet, deltas, conditions, latent, settings("balanced"), plan)
    broken = {k: v for k, v in conditions.items() if k.branch != 2}
    with pytest.raises(KeyError):
        _compose(unet, deltas, broken, latent, settings("balanced"), plan)
    assert torch.equal(ToyDenoiser(unet, conditions).forward(latent, row), before)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in unet.modules())
    assert all(parameter.requires_grad for parameter in unet.parameters())


def test_masks_lock_at_the_mean_of_the_last_three():
    unet, conditions, latent = _setup(2, (16, 16))
    deltas = _deltas(unet, 2)
    worn = {0: (), 1: ("L1",), 2: ("L2",)}
    composition = Composition([_plan(2)], worn, settings("balanced", "masks", lock_at=50))
    denoiser, seen = ToyDenoiser(unet, conditions), []
    with installed(composition, unet, deltas, CPU), torch.no_grad():
        for index in range(8):
            move = composition.before(Moment(index, 8, 1 - index / 8), latent * (1 + index), denoiser)
            rows = composition.rows
            composition.after(dict(zip(rows, denoiser.forward(move.at, rows), strict=True)))
            seen.append(composition.report.weights[0])
    last = composition.masking._kept[0][-1].float()
    torch.testing.assert_close(seen[4], torch.stack([seen[2], seen[3], last]).mean(0))
    assert all(torch.equal(later, seen[4]) for later in seen[4:])
    assert not torch.equal(seen[3], seen[4])


@pytest.mark.parametrize(("method", "rows"), [("composite", 4), ("switch", 2), ("masks", 6), ("merge", 2)])
def test_the_rows_of_every_method(method: str, rows: int):
    unet, conditions, latent = _setup(2, (16, 16))
    deltas = _deltas(unet, 2)
    worn = {0: ("L1", "L2")} if method == "merge" else {0: (), 1: ("L1",), 2: ("L2",)}
    plan = _plan(2) if method == "masks" else Plan(())
    composition = Composition(
        [plan], worn, settings("balanced", method, switch_every=2, route=False, uncond="branches")
    )
    denoiser, active = ToyDenoiser(unet, conditions), []
    with installed(composition, unet, deltas, CPU), torch.no_grad():
        for index in range(6):
            move = composition.before(Moment(index, 6, 1 - index / 6), latent, denoiser)
            assert move.latent is latent
            assert len(composition.rows) == rows
            active.append(composition.layout.first)
            out = denoiser.forward(move.at, composition.rows)
            fused = composition.after(dict(zip(composition.rows, out, strict=True)))
    if method == "switch":
        assert active == [1, 1, 2, 2, 1, 1]
    if method == "composite":
        torch.testing.assert_close(fused.cond[0], maths.composite([out[0:1], out[1:2]])[0])


def test_uncond_rows_that_the_host_left_out_take_the_conditional_ones():
    unet, conditions, latent = _setup(2, (16, 16))
    composition = Composition([_plan(2)], {0: (), 1: ("L1",), 2: ("L2",)}, settings("paper", "masks"))
    denoiser = ToyDenoiser(unet, conditions)
    with installed(composition, unet, _deltas(unet, 2), CPU), torch.no_grad():
        composition.before(MOMENT, latent, denoiser)
        rows = composition.rows[:-1]
        fused = composition.after(dict(zip(rows, denoiser.forward(latent, rows), strict=True)))
    assert torch.equal(fused.cond, fused.uncond)


def test_an_infinite_gradient_moves_nothing_and_says_so():
    unet, conditions, latent = _setup(2, (16, 16))
    conditions = {row: text * (float("inf") if row.branch == 1 else 1.0) for row, text in conditions.items()}
    composition, move, _ = _compose(unet, _deltas(unet, 2), conditions, latent, settings("balanced"), _plan(2))
    assert move.latent is latent
    assert "not finite" in composition.report.steps[0].notes[0]


def test_a_model_without_the_wanted_maps_is_refused():
    unet, conditions, latent = _setup(2, (16, 16))
    composition = Composition([_plan(2)], {0: (), 1: (), 2: ()}, settings("balanced"))
    with pytest.raises(HostError, match="cross-attention"), installed(composition, nn.Linear(2, 2), {}, CPU):
        pass
    with installed(composition, unet, {}, CPU), torch.no_grad():
        composition.recorder.start((48, 48))
        with composition.passage.over([Row(0, 0)]):
            ToyDenoiser(unet, conditions).forward(latent, [Row(0, 0)])
        with pytest.raises(HostError, match="48x48"):
            composition.recorder.take()


def test_a_report_is_plain_data():
    unet, conditions, latent = _setup(2, (16, 16))
    composition, _, _ = _compose(unet, _deltas(unet, 2), conditions, latent, settings("balanced", **ANEW), _plan(2))
    data = composition.report.as_dict()
    assert data["unet_rows"] == 9
    assert len(data["masks"][0]) == 3
    masks, maps = torch.tensor(data["masks"][0]), torch.tensor(data["maps"][0])
    assert maps.shape == masks[1:].shape
    for mask, seen in zip(masks[1:], maps, strict=True):
        assert mask.flatten()[seen.argmax()] > 0, "a subject draws where its words are looked at most"
    assert data["seconds"] > 0
    assert data["settings"]["profile"] == "balanced"
