"""All layers of a merge learnt together: what is learnt from, the steps, and going on where a merge was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from clora_ext.errors import SettingsError
from clora_ext.lora.files import read_lora
from clora_ext.merge import lessons as lessons_module
from clora_ext.merge.inputs import Ingredient, read_ingredients
from clora_ext.merge.job import MergeJob, MergeRequest
from clora_ext.merge.joint import Joint
from clora_ext.merge.layer import FactoredDelta
from clora_ext.merge.learnt import learnt_of
from clora_ext.merge.lesson_rows import BATCH, AllLessons
from clora_ext.merge.lessons import (
    LEVELS,
    OTHERS,
    OWN,
    UNITS,
    Lessons,
    Pictures,
    rows_of,
    timesteps_of,
    to_be_noised,
    units,
)
from clora_ext.merge.methods import MERGE_METHODS
from clora_ext.merge.output import OutputForm
from clora_ext.merge.recipe import recipe_of
from clora_ext.merge.run import Merge
from clora_ext.merge.store import Store
from clora_ext.merge.work import MergeCancelled
from tests.merge.test_job import lora
from tests.merge.toy_painter import PROMPTS, Painters, ToyPainter
from tests.merge.toy_source import CONVOLVED, CROSS, TEXT

JOINT_STEPS = 60


@pytest.fixture
def two(tmp_path: Path) -> list[Ingredient]:
    return [Ingredient(lora(tmp_path, name, seed), 0.2) for seed, name in enumerate("ab", 1)]


def _painter(two: list[Ingredient]) -> tuple[ToyPainter, list]:
    loras = read_ingredients(two, None)
    return ToyPainter([one.trigger for one in loras]), loras


def _nothing() -> None:
    """Told of a unit of work."""


def _drawn(painter: ToyPainter, loras: list, number: int = 0) -> Pictures:
    one = loras[number]
    with torch.no_grad():
        return painter.pictures(number, {layer: one.delta(layer) for layer in one.layers}, _nothing)


def _all(painter: ToyPainter, loras: list) -> tuple[list[Lessons], AllLessons]:
    drawn = [_drawn(painter, loras, number) for number in range(len(loras))]
    finished = [each.finished for each in drawn]
    lessons = []
    with torch.no_grad():
        for number, one in enumerate(loras):
            own = {layer: one.delta(layer) for layer in one.layers}
            clean = to_be_noised(finished, number, torch.Generator().manual_seed(0))
            lessons.append(drawn[number].lessons + painter.noised(number, own, clean, _nothing))
        texts = [painter.texts(number) for number in range(len(loras))]
    return lessons, AllLessons(lessons, texts, [each.missed for each in drawn])


# -- lessons -----------------------------------------------------------------------------------------------------------


def test_lessons_are_what_the_lora_predicts_there(two: list[Ingredient]):
    painter, loras = _painter(two)
    lessons, everything = _all(painter, loras)
    texts = [*PROMPTS.pictured * 2, *PROMPTS.held]
    for found in lessons:
        assert len(found.z) == rows_of(len(texts)) == len(texts) * (2 * LEVELS + OWN + OTHERS)
        assert set(found.texts.tolist()) == set(range(len(texts) + 1)), "the last is that of no text"
        assert found.held.sum() == rows_of(1)
    numbers = (lessons[0].z, lessons[0].predicted, lessons[0].timesteps, lessons[0].texts, lessons[0].held)
    assert painter.lesson_bytes == sum(each.nbytes for each in numbers)
    rows = everything.drawn(0)
    for number, one in enumerate(loras):
        own = {layer: learnt_of(one.delta(layer), 2, painter.device) for layer in (CROSS, CONVOLVED)}
        with torch.no_grad(), painter.learning(own, {TEXT: one.delta(TEXT)}):
            again = painter.predict(rows.z, rows.timesteps, painter.read(rows.texts))
        mine = slice(number, None, 2)  # LoRAs take turns
        torch.testing.assert_close(again[mine], rows.predicted[mine], rtol=5e-3, atol=5e-3)  # kept in half precision


def test_pictures_are_ddims_with_guidance(two: list[Ingredient]):
    painter, loras = _painter(two)
    drawn = _drawn(painter, loras)
    found, pictures = drawn.lessons, len(drawn.finished)
    for level, (step, after) in enumerate(zip(timesteps_of(LEVELS), [*timesteps_of(LEVELS)[1:], 0], strict=True)):
        start = 2 * pictures * level
        z, wanted, unwanted = (
            part.float()
            for part in (
                found.z[start : start + pictures],
                found.predicted[start : start + pictures],
                found.predicted[start + pictures : start + 2 * pictures],
            )
        )
        assert (found.timesteps[start : start + 2 * pictures] == step).all()
        guided = unwanted + lessons_module.GUIDANCE * (wanted - unwanted)
        now, then = painter.alphas_cumprod[step], painter.alphas_cumprod[after]
        moved = then.sqrt() * (z - (1 - now).sqrt() * guided) / now.sqrt() + (1 - then).sqrt() * guided
        end = start + 2 * pictures
        following = found.z[end : end + pictures].float() if level < LEVELS - 1 else drawn.finished
        torch.testing.assert_close(following, moved, rtol=1e-2, atol=2e-2)


def test_a_velocity_draws_what_its_noise_would(two: list[Ingredient]):
    class ByVelocity(ToyPainter):
        predicts_velocity = True

        def predict(self, z, timesteps, condition):
            alpha = self.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
            return (super().predict(z, timesteps, condition) - (1 - alpha).sqrt() * z) / alpha.sqrt()

    painter, loras = _painter(two)
    by_noise, by_velocity = (_drawn(one, loras) for one in (painter, ByVelocity(painter.triggers)))
    torch.testing.assert_close(by_velocity.finished, by_noise.finished, rtol=1e-3, atol=1e-3)


def test_noise_is_added_to_ones_own_pictures_and_to_the_others_in_their_places():
    finished = [torch.full((4, 1, 1, 1), 10.0 * lora) + torch.arange(4.0).view(4, 1, 1, 1) for lora in range(3)]
    clean = list(to_be_noised(finished, 1, torch.Generator().manual_seed(0)))
    assert len(clean) == OWN + OTHERS == UNITS - LEVELS
    assert all(torch.equal(each, finished[1]) for each in clean[:OWN])
    others = torch.stack(clean[OWN:]).squeeze()
    assert set(others.flatten().tolist()) == {0.0, 1.0, 2.0, 3.0, 20.0, 21.0, 22.0, 23.0}
    assert torch.equal(others % 10, torch.arange(4.0).expand(OTHERS, 4)), "what is held out stays so"


def test_units_are_the_levels_own_and_lie_between(two: list[Ingredient]):
    painter, loras = _painter(two)
    missed = [_drawn(painter, loras, number).missed for number in (0, 1)]
    levels, mean = timesteps_of(LEVELS), torch.stack(missed).mean(0)
    torch.testing.assert_close(units(missed, torch.tensor(levels)), mean)
    between = units(missed, torch.tensor([150]))
    low, high = (mean[levels.index(step)] for step in (101, 201))
    assert min(low, high) < between < max(low, high)
    assert torch.equal(units(missed, torch.tensor([999])), mean[:1])


def test_rows_take_turns_and_repeat(two: list[Ingredient]):
    lessons, everything = _all(*_painter(two))
    first, again, other = everything.drawn(3), everything.drawn(3), everything.drawn(4)
    assert len(first) == BATCH
    assert torch.equal(first.z, again.z) and not torch.equal(first.z, other.z)
    held = {repr(each.z[row].tolist()) for each in lessons for row in each.held.nonzero().flatten().tolist()}
    assert all(repr(row.half().tolist()) not in held for row in first.z)
    assert all(repr(row.half().tolist()) in held for row in everything.judged().z)
    assert sum(len(part) for part in first.split(5)) == BATCH


# -- steps -------------------------------------------------------------------------------------------------------------


def _joint(tmp_path: Path, two: list[Ingredient], steps: int = JOINT_STEPS):
    painter, loras = _painter(two)
    store = Store(tmp_path / "work", {})
    solved = Merge(loras, painter, MERGE_METHODS["default"], store).run()
    told: list[str] = []
    return Joint(loras, painter, store, steps, 2**30, told.append), solved, told


def test_layers_together_miss_less_than_one_by_one(tmp_path: Path, two: list[Ingredient]):
    joint, solved, told = _joint(tmp_path, two)
    found, report = joint.run(solved)
    assert report.after < 0.8 * report.before
    assert len(told) == joint.total == 2 * UNITS + JOINT_STEPS
    assert found.keys() == solved.keys()
    assert all(not torch.equal(found[layer].delta.matrix, solved[layer].delta.matrix) for layer in solved)
    assert f"after {JOINT_STEPS} joint steps" in report.told()


def test_what_is_no_better_is_not_taken(tmp_path: Path, two: list[Ingredient], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clora_ext.merge.joint.RATE", 50.0)
    joint, solved, _ = _joint(tmp_path, two, steps=5)
    found, report = joint.run(solved)
    assert report.after == report.before
    for layer, each in solved.items():
        torch.testing.assert_close(found[layer].delta.matrix, each.delta.matrix)


def test_little_room_draws_fewer_rows_at_once_and_finds_the_same(tmp_path: Path, two: list[Ingredient]):
    whole, solved, _ = _joint(tmp_path / "a", two, steps=5)
    found, _ = whole.run(solved)
    split, solved, _ = _joint(tmp_path / "b", two, steps=5)
    split.source.room = 1.0
    before = split.source.predictions
    again, _ = split.run(solved)
    assert split.source.predictions - before > 5 * BATCH
    torch.testing.assert_close(again[CONVOLVED].delta.matrix, found[CONVOLVED].delta.matrix, rtol=1e-3, atol=1e-4)


def test_the_first_gradient_is_that_of_differences(tmp_path: Path, two: list[Ingredient]):
    joint, solved, _ = _joint(tmp_path, two)
    learnt = joint._begun({layer: each.delta for layer, each in solved.items()})
    rows = joint._lessons().drawn(0)
    matrices = [matrix for each in learnt.values() for matrix in each.matrices]
    with joint.source.learning(learnt, {}), torch.no_grad():
        for matrix, gradient in zip(matrices, joint._gradients(matrices, rows), strict=True):
            place, far, losses = (1, 1), 1e-2, []
            for side in (far, -far):
                matrix[place] += side
                losses.append(float(joint._missed(rows).double().mean()))
                matrix[place] -= side
            assert float(gradient[place]) == pytest.approx((losses[0] - losses[1]) / (2 * far), rel=2e-2, abs=1e-5)


def test_what_is_small_as_factors_is_learnt_as_factors():
    torch.manual_seed(0)
    layer, x = nn.Conv2d(6, 5, 3, padding=1), torch.randn(2, 6, 4, 4)
    delta = FactoredDelta((5, 6, 3, 3), torch.randn(5, 2), torch.randn(2, 54))
    with torch.no_grad():  # as a host may be when a merge begins
        small, whole = (learnt_of(delta, rank, torch.device("cpu")) for rank in (3, 5))
        for matrix in (*small.matrices, *whole.matrices):
            matrix.mul_(1.0)
    assert [len(each.matrices) for each in (small, whole)] == [2, 1]
    torch.testing.assert_close(small.delta().matrix, delta.matrix)
    wanted = F.conv2d(x, delta.matrix.reshape(5, 6, 3, 3), padding=1)
    for learnt in (small, whole):
        found = learnt(layer, x)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        gradients = torch.autograd.grad(found.square().sum(), learnt.matrices)
        assert all(gradient.any() for gradient in gradients)


# -- a whole merge -----------------------------------------------------------------------------------------------------


@pytest.fixture
def wanted(tmp_path: Path, two: list[Ingredient]) -> MergeRequest:
    out = tmp_path / "two.safetensors"
    return MergeRequest(
        tuple(two), out, form=OutputForm(dtype="fp32"), steps=3, learned=("a {}",), held=("a {}",), joint_steps=55
    )


def test_it_is_told_kept_in_the_recipe_and_nothing_is_left(wanted: MergeRequest):
    told: list[str] = []
    job = MergeJob(wanted, Painters())
    report = job.run(told.append)
    assert len(told) == job.work.total
    assert report.lines()[-1].endswith("after 55 joint steps")
    assert {path.suffix for path in wanted.out.parent.iterdir()} == {".safetensors", ".json"}
    with_it = load_file(wanted.out)
    assert recipe_of("two", read_lora(wanted.out).metadata).settings["joint_steps"] == 55
    without = MergeJob(replace(wanted, overwrite=True, joint_steps=0), Painters())
    assert without.run().joint is None
    assert any(not torch.equal(with_it[name], there) for name, there in load_file(wanted.out).items() if "conv" in name)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.99])
def test_cancelled_at_any_moment_it_goes_on_to_the_same_bits(wanted: MergeRequest, share: float):
    MergeJob(wanted, Painters()).run()
    whole = load_file(wanted.out)
    wanted.out.unlink()
    job = MergeJob(wanted, Painters())
    moments = iter(range(int(share * job.work.total)))

    def tell(_: str) -> None:
        if next(moments, None) is None:
            raise MergeCancelled

    with pytest.raises(MergeCancelled):
        job.run(tell)
    assert not wanted.out.exists()
    again = Painters()
    MergeJob(wanted, again).run()
    found = load_file(wanted.out)
    assert all(torch.equal(found[name], there) for name, there in whole.items())


def test_other_joint_steps_are_another_merge(wanted: MergeRequest):
    assert MergeJob(wanted, Painters())._same() != MergeJob(replace(wanted, joint_steps=3), Painters())._same()
    assert replace(wanted, joint_steps=None).joint == 200


@pytest.mark.parametrize(("method", "steps"), [("span", 5), ("svd", 5), ("default", -1)])
def test_joint_steps_are_the_defaults_alone(wanted: MergeRequest, method: str, steps: int):
    with pytest.raises(SettingsError, match="joint steps by") as caught:
        MergeJob(replace(wanted, method=method, joint_steps=steps), Painters())
    assert caught.value.field == "joint_steps"
    assert replace(wanted, method="svd", joint_steps=None).joint == 0
