"""A routed row against an obvious one that merges weights and computes every branch everywhere; locking; one row."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clora_ext.batch.context import Forward
from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import BranchLoras, Half, Row
from clora_ext.core.schedule import SamplingPoint, position_of
from clora_ext.engine import update
from clora_ext.engine.gradient import predict_rows
from clora_ext.errors import HostError
from clora_ext.lora.deltas import DenseDelta, LowRank
from clora_ext.settings.profiles import build_settings
from tests.engine.setup import merged, predicted, random_loras, running, setup
from tests.toy import ToyHost, ToyUNet


def _wide(unet: ToyUNet, k: int) -> dict[str, dict[nn.Module, object]]:
    """LoRAs that change convolutions and norms as well as linear layers, of a different rank each."""
    generator = torch.Generator().manual_seed(9)
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    found = {}
    for c in range(k):
        changes: dict[nn.Module, object] = {}
        for layer in unet.modules():
            if isinstance(layer, nn.Linear):
                down, up = random(c + 1, layer.in_features), random(layer.out_features, c + 1)
                changes[layer] = LowRank(down, up, 0.15 - 0.02 * c)
            elif isinstance(layer, nn.Conv2d):
                down = random(2, layer.in_channels, *layer.kernel_size)
                changes[layer] = LowRank(down, random(layer.out_channels, 2, 1, 1), 0.1)
            elif isinstance(layer, nn.GroupNorm):
                changes[layer] = DenseDelta(random(layer.num_channels) * 0.2, random(layer.num_channels) * 0.2)
        found[f"L{c + 1}"] = changes
    return found


def _with(unet: ToyUNet, changes: dict[nn.Module, object]) -> ToyUNet:
    """A copy of the UNet with the LoRA added to its weights."""
    plain = {layer: delta for layer, delta in changes.items() if isinstance(layer, nn.Linear)}
    found = merged(unet, plain)
    names = {layer: name for name, layer in unet.named_modules()}
    with torch.no_grad():
        for layer, delta in changes.items():
            target = found.get_submodule(names[layer])
            if isinstance(layer, nn.Conv2d):
                target.weight += delta.scale * torch.einsum("or,rihw->oihw", delta.up.flatten(1), delta.down)
            elif isinstance(layer, nn.GroupNorm):
                target.weight += delta.weight
                target.bias += delta.bias
    return found


class _Obvious:
    """One image's routed row: every layer of every branch's own network on all pixels, then mixed by shares."""

    def __init__(self, networks: list[ToyUNet], texts: list[torch.Tensor], weights: torch.Tensor) -> None:
        self.networks, self.texts, self.weights = networks, texts, weights

    def shares(self, size: tuple[int, int]) -> torch.Tensor:
        """[branch, 1, height, width]"""
        if size[0] < self.weights.shape[-2]:
            return F.adaptive_avg_pool2d(self.weights, size)[:, None]
        return F.interpolate(self.weights[None], size, mode="nearest")[0][:, None]

    def mixed(self, layer: str, x: torch.Tensor, size: tuple[int, int], text: bool = False) -> torch.Tensor:
        outs = []
        for network, context in zip(self.networks, self.texts, strict=True):
            part = network.get_submodule(layer)
            outs.append(part(x, context[None]) if text else part(x))
        if outs[0].dim() == 4:
            return sum(share * out for share, out in zip(self.shares(outs[0].shape[-2:]), outs, strict=True))
        shares = self.shares(size).flatten(2).transpose(1, 2)  # branch, pixel, 1
        return sum(share * out for share, out in zip(shares, outs, strict=True))

    def block(self, name: str, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[-2:]
        x = x + torch.tanh(self.mixed(f"{name}.conv", self.mixed(f"{name}.norm", x, size), size))
        pixels = x.flatten(2).transpose(1, 2)
        part = lambda which, of: self.mixed(f"{name}.attn1.{which}", of, size)  # noqa: E731
        q, k, v = (part(which, pixels).unflatten(-1, (2, -1)).transpose(1, 2) for which in ("to_q", "to_k", "to_v"))
        out = (q @ k.transpose(-1, -2) * self.networks[0].get_submodule(name).attn1.scale).softmax(-1) @ v
        pixels = pixels + part("to_out.0", out.transpose(1, 2).flatten(2))
        pixels = pixels + self.mixed(f"{name}.attn2", pixels, size, text=True)
        return pixels.transpose(1, 2).unflatten(-1, size)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        first = self.block("input_blocks.1", self.mixed("input_blocks.0", z, z.shape[-2:]))
        middle = self.block("middle_block", self.mixed("input_blocks.2", first, z.shape[-2:]))
        up = F.interpolate(middle, first.shape[-2:], mode="nearest")
        return self.mixed("output_blocks.2", self.block("output_blocks.1", first + up), z.shape[-2:])


def _hard(k: int, size: tuple[int, int], seed: int) -> torch.Tensor:
    owners = torch.randint(0, k + 1, size, generator=torch.Generator().manual_seed(seed))
    return F.one_hot(owners, k + 1).movedim(-1, 0).double()


def _soft(k: int, size: tuple[int, int], seed: int) -> torch.Tensor:
    return torch.rand(k + 1, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(dim=0)


def _lock(composition, regions: Sequence[torch.Tensor]) -> None:
    """Give every image masks that do not change any more."""
    for image, own in zip(composition.masks, regions, strict=True):
        image.regions, image.locked = own, True


def _route(unet, loras, conditions, latent, regions, predict=predicted, **job):
    """The routed rows' predictions of both halves, for given region masks per image."""
    k = len(regions[0]) - 1
    wanted = build_settings("authors" if k == 1 else "balanced", route=True, uncond="routed", count_by="noise")
    host = ToyHost(unet, loras, conditions)
    with running(host, wanted, k, len(latent), **job) as (composition, denoiser), torch.no_grad():
        _lock(composition, regions)
        move = composition.before(SamplingPoint(5, 10, 0.5), latent, denoiser)
        found = predict(denoiser, composition.open_step().rows, move.predict_from)
        composition.after(found)
    return found


@pytest.mark.parametrize("make", [_hard, _soft])
@pytest.mark.parametrize(("k", "size", "grid"), [(2, (16, 24), (16, 24)), (3, (16, 16), (4, 4)), (1, (12, 12), (6, 6))])
def test_a_routed_row_equals_the_obvious_one(make, k, size, grid):
    unet, conditions, latent = setup(k, size, images=2)
    deltas, weights = _wide(unet, k), [make(k, grid, 1), make(k, grid, 2)]
    found = _route(unet, deltas, conditions, latent, weights)
    networks = [unet, *(_with(unet, deltas[f"L{b}"]) for b in range(1, k + 1))]
    assert set(found) == {Row(image, 0, half, routed=True) for image in (0, 1) for half in Half}
    for row, prediction in found.items():
        texts = [conditions[Row(row.image, b, row.half)] for b in range(k + 1)]
        expected = _Obvious(networks, texts, weights[row.image])(latent[row.image : row.image + 1])[0]
        torch.testing.assert_close(prediction, expected, rtol=1e-6, atol=1e-6)


def _padded(denoiser, rows: Sequence[Row], latent: torch.Tensor) -> dict[Row, torch.Tensor]:
    """Predictions of a host that pads the texts of a forward to one length in a way of its own, as WebUI may."""
    texts = [condition.tokens for condition in denoiser.conditions(rows)]
    longest = max(len(text) for text in texts)
    padded = torch.stack([F.pad(text, (0, 0, 0, longest - len(text)), value=0.5) for text in texts])
    return dict(zip(rows, denoiser.unet(latent[[row.image for row in rows]], padded), strict=True))


def test_pixels_attend_to_texts_as_they_are_however_the_host_pads_its_rows():
    """The unconditional texts are longer: a picture of one branch alone is that branch's own with its own text."""
    unet, conditions, latent = setup(2, (16, 16))
    generator = torch.Generator().manual_seed(7)
    more = torch.randn(3, 5, 6, generator=generator, dtype=torch.float64)
    for branch in range(3):
        row = Row(0, branch, Half.UNCOND)
        conditions[row] = torch.cat([conditions[row], more[branch]])
    weights = torch.zeros(3, 8, 8, dtype=torch.float64)
    weights[2] = 1.0
    deltas = _wide(unet, 2)
    network = _with(unet, deltas["L2"])
    for row, prediction in _route(unet, deltas, conditions, latent, [weights], predict=_padded).items():
        own = network(latent, conditions[Row(0, 2, row.half)][None])[0]
        torch.testing.assert_close(prediction, own, rtol=1e-6, atol=1e-6)


def test_cross_attention_runs_once_for_all_branches_of_routed_rows():
    unet, conditions, latent = setup(2, (16, 16))
    batches: list[int] = []
    handle = unet.middle_block.attn2.register_forward_hook(lambda _, args, __: batches.append(len(args[0])))
    _route(unet, _wide(unet, 2), conditions, latent, [_hard(2, (16, 16), 1)])
    handle.remove()
    assert batches == [6]  # three branches of two rows


def test_where_a_layer_fails_the_next_forward_knows_its_rows():
    unet, conditions, latent = setup(2, (16, 16))
    deltas, regions = _wide(unet, 2), _hard(2, (8, 8), 3)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    wanted = build_settings("balanced", count_by="noise")
    with running(ToyHost(unet, deltas, conditions), wanted, 2) as (composition, denoiser), torch.no_grad():
        _lock(composition, [regions])
        move, context = composition.before(SamplingPoint(5, 10, 0.5), latent, denoiser), composition.context
        rows, forward = composition.open_step().rows, context.forward
        handle = unet.middle_block.attn2.to_v.register_forward_hook(fail)
        with pytest.raises(ZeroDivisionError):
            predicted(denoiser, rows, move.predict_from)
        handle.remove()
        context.begin(forward)
        found = predicted(denoiser, rows, move.predict_from)
        composition.after(found)
    for row, expected in _route(unet, deltas, conditions, latent, [regions]).items():
        assert torch.equal(found[row], expected)


@pytest.mark.parametrize("owner", [0, 1, 2])
def test_a_picture_of_one_branch_is_that_branchs_own(owner: int):
    unet, conditions, latent = setup(2, (16, 16))
    deltas, weights = _wide(unet, 2), torch.zeros(3, 8, 8, dtype=torch.float64)
    weights[owner] = 1.0
    network = _with(unet, deltas[f"L{owner}"]) if owner else unet
    for row, prediction in _route(unet, deltas, conditions, latent, [weights]).items():
        own = network(latent, conditions[Row(0, owner, row.half)][None])[0]
        torch.testing.assert_close(prediction, own, rtol=1e-6, atol=1e-6)


def test_a_lora_of_the_whole_picture_is_everywhere():
    unet, conditions, latent = setup(2, (16, 16))
    loras, regions = random_loras(unet, 3), _hard(2, (8, 8), 3)
    bindings = [
        *({"lora": f"L{c}", "subject": f"subject{c}", "trigger": f"trigger{c}"} for c in (1, 2)),
        {"lora": "L3", "role": "style"},
    ]
    wanted = {"bindings": bindings}
    found = _route(unet, loras, conditions, latent, [regions], **wanted)
    styled = merged(unet, loras["L3"])
    networks = [styled]
    for name in ("L1", "L2"):
        twice = merged(unet, {layer: _scaled(delta, 0.25) for layer, delta in loras[name].items()})
        names = {layer: path for path, layer in unet.named_modules()}
        with torch.no_grad():
            for layer, delta in loras["L3"].items():
                twice.get_submodule(names[layer]).weight += delta.scale * delta.up @ delta.down
        networks.append(twice)
    texts = [conditions[Row(0, b, Half.COND)] for b in range(3)]
    expected = _Obvious(networks, texts, regions)(latent)[0]
    torch.testing.assert_close(found[Row(0, 0, Half.COND, routed=True)], expected, rtol=1e-6, atol=1e-6)


def _scaled(delta: LowRank, share: float) -> LowRank:
    return LowRank(delta.down, delta.up, delta.scale * share)


@pytest.mark.parametrize("route", [True, False])
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_strengths_may_change_between_steps(share: float, *, route: bool):
    unet, conditions, latent = setup(2, (16, 16))
    loras, regions = random_loras(unet, 2), _soft(2, (8, 8), 3)
    wanted = build_settings("balanced", route=route, uncond="routed" if route else "branches", count_by="noise")

    def fused(loras, now):
        with running(ToyHost(unet, loras, conditions), wanted, 2) as (composition, denoiser), torch.no_grad():
            _lock(composition, [regions])
            for index, weights in ((5, {}), (6, now)):
                composition.weigh(weights)
                move = composition.before(SamplingPoint(index, 10, 0.5), latent, denoiser)
                found = composition.after(predicted(denoiser, composition.open_step().rows, move.predict_from))
        return found

    weaker = {layer: _scaled(delta, share) for layer, delta in loras["L1"].items()}
    found, expected = fused(loras, {"L1@1": share}), fused(loras | {"L1": weaker}, {})
    torch.testing.assert_close(found.cond, expected.cond)
    torch.testing.assert_close(found.uncond, expected.uncond)
    assert not torch.allclose(found.cond, fused(loras, {}).cond)


def test_gradients_flow_through_routed_rows():
    unet, conditions, latent = setup(2, (8, 8))
    host, regions, row = ToyHost(unet, _wide(unet, 2), conditions), _soft(2, (8, 8), 4), (Row(0, 0, routed=True),)
    with running(host, build_settings("balanced"), 2) as (composition, denoiser):
        _lock(composition, [regions])
        composition.before(SamplingPoint(5, 10, 0.5), latent, denoiser)
        forward = composition.context.forward

        def predict(z: torch.Tensor) -> torch.Tensor:
            with composition.context.running(Forward(row, {}, forward.regions, forward.conditions)):
                return predict_rows(denoiser, forward.conditions, z, row).square().sum()

        assert torch.autograd.gradcheck(predict, (latent.requires_grad_(),), eps=1e-6, atol=1e-4, rtol=1e-5)


# -- a whole run -----------------------------------------------------------------------------------------------------


def run(wanted, *, images=1, steps=10, latent=None, conditions=None, k=2):
    """Ten steps down the noise schedule; the latent follows the predictions, so that masks change."""
    unet, texts, start = setup(k, (16, 16), images=images)
    conditions, latent = conditions or texts, start if latent is None else latent
    host, sizes = ToyHost(unet, random_loras(unet, k), conditions), []
    with running(host, wanted, k, len(latent)) as (composition, denoiser), torch.no_grad():
        for index in range(steps):
            move = composition.before(SamplingPoint(index, steps, 1 - index / steps), latent, denoiser)
            rows = composition.open_step().rows
            sizes.append(len(rows))
            found = predicted(denoiser, rows, move.predict_from)
            latent = move.latent - 0.05 * composition.after(found).cond
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in unet.modules())
    return composition.report, latent, sizes


def test_branches_until_locked_then_one_routed_row():
    report, _, sizes = run(build_settings("balanced", lock_at=40, lock_steady=0.0, uncond="branches"))
    assert sizes == [3] * 4 + [6] + [2] * 5  # what the gradient pass has predicted is not predicted again
    assert [step.gradient_rows for step in report.steps] == [3] * 4 + [0] * 6
    assert [step.locked for step in report.steps] == [0] * 4 + [1] * 6
    assert [step.routed for step in report.steps] == [0] * 5 + [1] * 5
    assert report.steps[4].areas == report.steps[9].areas


def test_by_default_the_gradient_pass_predicts_for_the_step():
    report, _, sizes = run(build_settings("balanced", lock_at=40, lock_steady=0.0))
    assert sizes == [1] * 4 + [4] + [2] * 5  # the unconditional row; then all branches, nothing being differentiated
    assert [step.gradient_rows for step in report.steps] == [3] * 4 + [0] * 6


def test_without_routing_the_branches_go_on():
    report, _, sizes = run(build_settings("balanced", route=False, update_until=70, uncond="branches"))
    assert sizes == [3] * 7 + [6] * 3
    assert [step.gradient_rows for step in report.steps] == [3] * 7 + [0] * 3


def test_steady_masks_are_locked_early_but_not_before_their_time():
    def first(**knobs):
        report, _, _ = run(build_settings("balanced", "masks", **knobs))
        return [step.locked for step in report.steps].index(1)

    assert first(lock_steady=1.0, lock_after=0) == 2  # three masks are needed
    assert first(lock_steady=1.0, lock_after=35, lock_at=80) == 4
    assert first(lock_steady=1e-9, lock_after=0, lock_at=60) == 6


@pytest.mark.parametrize(("profile", "sizes"), [("balanced", [1, 0, 0, 0, 4]), ("fast", [2, 0, 0, 0, 2])])
def test_an_update_takes_the_unconditional_row_along_once_there_are_masks(profile: str, sizes: list[int]):
    report, _, found = run(build_settings(profile, uncond="joined", lock_steady=0.0))
    assert found == [*sizes, *[2] * 5]
    compared = 3 if profile == "balanced" else 1
    assert [step.gradient_rows for step in report.steps] == [compared, *[compared + 1] * 3, *[0] * 6]


@pytest.mark.parametrize("memory", [0.0, 1e-6])
def test_the_row_that_is_taken_along_is_drawn_by_the_masks_before(memory: float):
    """One row or all at once: where an update's masks are those before it, it is the row that is predicted alone."""
    unet, conditions, latent = setup(2, (16, 16))
    host, moves = ToyHost(unet, random_loras(unet, 2), conditions), []
    for uncond in ("routed", "joined"):
        wanted = build_settings("fast", uncond=uncond, memory=memory)
        with running(host, wanted, 2, masks=[_hard(2, (8, 8), 3)]) as (composition, denoiser), torch.no_grad():
            move = composition.before(SamplingPoint(0, 10, 0.9), latent, denoiser)
            moves.append((move.latent, composition.after(composition.predict(move.predict_from))))
    (alone, apart), (along, together) = moves
    torch.testing.assert_close(along, alone, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(together.cond, apart.cond, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(together.uncond, apart.uncond, rtol=1e-9, atol=1e-11)
    assert not torch.equal(alone, latent)


def test_the_row_that_is_taken_along_knows_nothing_of_the_updates_own_masks():
    """Masks are found anew in every step here; the fused prediction is that of the last step's."""
    unet, conditions, latent = setup(2, (16, 16))
    wanted, row = build_settings("balanced", uncond="joined"), Row(0, 0, Half.UNCOND, routed=True)
    with running(ToyHost(unet, random_loras(unet, 2), conditions), wanted, 2) as (composition, denoiser):
        with torch.no_grad():
            move = composition.before(SamplingPoint(0, 10, 0.9), latent, denoiser)
            composition.after(composition.predict(move.predict_from))
        before = composition.masks[0].regions
        far = latent + 3.0 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        with torch.no_grad():
            move = composition.before(SamplingPoint(1, 10, 0.8), far, denoiser)
            fused, facts = composition.after({}), composition.facts(SamplingPoint(1, 10, 0.8), (16, 16), denoiser)
            assert not torch.equal(composition.masks[0].regions, before)
            regions = RegionPyramid({0: before}, composition.loras, (16, 16))
            with composition.context.running(Forward((row,), {}, regions, facts.conditions)):
                expected = predict_rows(denoiser, facts.conditions, far, (row,))
    torch.testing.assert_close(fused.uncond, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("uncond", "sizes"), [("branches", [3, 2]), ("routed", [1, 2]), ("shared", [1, 2])])
def test_the_unconditional_rows(uncond: str, sizes: list[int]):
    _, latent, found = run(build_settings("balanced", uncond=uncond, lock_steady=0.0))
    assert [found[0], found[-1]] == sizes
    assert torch.isfinite(latent).all()


def test_fast_draws_by_one_row_from_the_start():
    report, _, sizes = run(build_settings("fast", lock_steady=0.0))
    assert sizes == [2] + [1] * 3 + [2] * 6  # from the second step on the gradient pass's own prediction is the step's
    assert [step.gradient_rows for step in report.steps] == [1] * 4 + [0] * 6
    assert [step.rows for step in report.steps] == sizes
    assert [step.routed for step in report.steps] == [1] * 10
    assert report.steps[0].losses[0] > 0


@pytest.mark.parametrize("profile", ["authors", "balanced"])
def test_kept_predictions_are_those_that_would_be_made(profile: str, monkeypatch: pytest.MonkeyPatch):
    """Every prediction that a gradient pass has kept is put in place of another one, made by itself."""
    wanted = build_settings(profile, update_until=40, lock_at=80, rounds_at="0", rounds=2, uncond="branches")
    kept_report, kept, sizes = run(wanted)
    assert sizes[:4] == [0 if profile == "authors" else 3] * 4
    once, remade = update._update_once, []

    def made_anew(gradient_pass, before):
        result = once(gradient_pass, before)
        step, tools = gradient_pass.step, gradient_pass.tools
        with torch.no_grad(), tools.recorder.context.running(gradient_pass.forward):
            rows = gradient_pass.forward.rows
            anew = dict(zip(rows, predict_rows(step.denoiser, step.conditions, before.latent, rows), strict=True))
        remade.append(len(result.predictions))
        return update.UpdateResult(result.predict_from, result.latent, result.log, result.maps, anew)

    monkeypatch.setattr(update, "_update_once", made_anew)
    report, again, _ = run(wanted)
    assert max(remade) >= 3
    torch.testing.assert_close(kept, again)
    assert [s.areas for s in kept_report.steps] == [s.areas for s in report.steps]


@pytest.mark.parametrize("profile", ["balanced", "fast"])
def test_every_image_of_a_batch_locks_and_routes_by_itself(profile: str):
    wanted = build_settings(profile, lock_steady=0.12, lock_after=0, lock_at=60, overlap="average")
    _, conditions, latent = setup(2, (16, 16), images=3)
    report, both, _ = run(wanted, images=3)
    for image in range(3):
        texts = {Row(0, row.branch, row.half): c for row, c in conditions.items() if row.image == image}
        alone, end, _ = run(wanted, latent=latent[image : image + 1], conditions=texts)
        torch.testing.assert_close(both[image], end[0])
        torch.testing.assert_close(report.region_masks[image], alone.region_masks[0])
    assert {step.locked for step in report.steps} == {0, 1, 2, 3} or profile == "fast"


def test_presence_moves_the_latent_elsewhere():
    ends = [run(build_settings("balanced", presence=value, lock_steady=0))[1] for value in (0.0, 2.0)]
    assert (ends[0] - ends[1]).abs().max() > 1e-6


def test_a_layer_whose_pixels_were_joined_is_refused():
    regions = RegionPyramid({0: torch.ones(1, 8, 8)}, BranchLoras({0: ()}), (8, 8))
    assert regions.grid(16) == (4, 4)
    with pytest.raises(HostError, match="token merging"):
        regions.grid(50)


# -- samplers with several calls of the model in a step, and back in time ------------------------------------------


def walk(wanted, points: Sequence[SamplingPoint], masks: Sequence[torch.Tensor] = ()):
    """The reports of steps at any points, of a latent that stays; masks of another pass are reopened by the first."""
    unet, conditions, latent = setup(2, (16, 16))
    host, moves = ToyHost(unet, random_loras(unet, 2), conditions), []
    with running(host, wanted, 2, masks=masks) as (composition, denoiser), torch.no_grad():
        composition.reopen_masks(position_of(points[0], wanted.count_by))
        for point in points:
            move = composition.before(point, latent, denoiser)
            composition.after(predicted(denoiser, composition.open_step().rows, move.predict_from))
            moves.append(move.latent is not latent)
    return composition, moves


def test_a_trial_call_moves_nothing_and_leaves_the_masks_alone():
    points = [SamplingPoint(call // 2, 5, 1 - call // 2 / 5, call, trial=call % 2 == 1) for call in range(10)]
    composition, moves = walk(build_settings("balanced", lock_steady=0.0), points)
    assert moves == [True, False, True, False] + [False] * 6
    steps = composition.report.steps
    assert all(steps[call].areas == steps[call - 1].areas for call in range(1, 10, 2))
    assert [step.index for step in steps] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert composition.masks[0].locked


def test_masks_of_a_trial_call_are_read_where_there_are_none_yet():
    composition, moves = walk(build_settings("balanced"), [SamplingPoint(0, 5, 1.0, trial=True)])
    assert moves == [False]
    assert composition.masks[0].regions is not None


def test_locked_stays_locked_and_rounds_are_made_once_where_time_runs_back():
    noises = [1.0, 0.8, 0.5, 0.9, 0.7, 0.4]
    points = [SamplingPoint(index, 6, noise) for index, noise in enumerate(noises)]
    wanted = build_settings("balanced", lock_steady=0.0, rounds_at="0", rounds=1)
    composition, moves = walk(wanted, points)
    assert moves == [True, True, False, False, False, False]
    assert [step.gradient_rows for step in composition.report.steps] == [6, 3, 0, 0, 0, 0]
    assert [step.locked for step in composition.report.steps] == [0, 0, 1, 1, 1, 1]


# -- passes that begin with masks, or late in the schedule ---------------------------------------------------------


def late(count: int) -> list[SamplingPoint]:
    """A run that begins behind the position of the lock, as img2img does."""
    return [SamplingPoint(index, count, 0.5 - 0.1 * index) for index in range(count)]


def test_a_run_that_begins_late_locks_the_mean_of_three_masks():
    composition, moves = walk(build_settings("balanced", lock_steady=0.0), late(5))
    assert moves == [False] * 5
    assert [step.locked for step in composition.report.steps] == [0, 0, 1, 1, 1]


def test_masks_that_are_given_are_locked_and_drawn_by_from_the_start():
    given = torch.zeros(3, 4, 4)
    given[1, :, :2], given[2, :, 2:] = 1.0, 1.0
    composition, moves = walk(build_settings("balanced"), late(3), [given])
    assert moves == [False] * 3
    assert [(step.locked, step.routed, step.rows) for step in composition.report.steps] == [(1, 1, 2)] * 3
    assert torch.equal(composition.found_masks[0], given)
    assert composition.report.maps == []


@pytest.mark.parametrize("profile", ["balanced", "fast"])
def test_masks_of_another_pass_are_found_anew_where_things_may_still_move(profile: str):
    kept = torch.zeros(3, 8, 8)
    kept[1, :, :4], kept[2, :, 4:] = 1, 1
    wanted = build_settings(profile, method="masks", lock_steady=0.0)
    early = [SamplingPoint(index, 4, noise) for index, noise in enumerate([0.7, 0.65, 0.5])]
    composition, _ = walk(wanted, early, [kept])
    assert [step.locked for step in composition.report.steps] == [0, 0, 1]
    assert not torch.equal(composition.masks[0].regions, kept)
    late, _ = walk(wanted, early[2:], [kept])
    assert [step.locked for step in late.report.steps] == [1]
    assert torch.equal(late.masks[0].regions, kept)
