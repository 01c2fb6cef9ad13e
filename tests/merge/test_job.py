"""A merge from what is asked for to the file, cancelled at any moment and gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from clora_ext.errors import CLoRAError
from clora_ext.lora.files import read_lora
from clora_ext.merge.inputs import Ingredient, needs_base
from clora_ext.merge.job import UNDER_WAY, MergeJob, MergeRequest
from clora_ext.merge.output import OutputForm
from clora_ext.merge.recipe import recipe_of
from clora_ext.merge.run import Stage
from clora_ext.merge.work import Base, MergeCancelled
from tests.merge.toy_painter import ToyPainter
from tests.merge.toy_source import CONVOLVED, CROSS, TEXT, WIDTH

STEPS = 3


class ToyModel(ToyPainter):
    """Keeps under which LoRA it was shown."""

    def __init__(self, *asked: Any) -> None:
        super().__init__(*asked)
        self.asked: list[int] = []

    def show(self, stage, lora, active, watched, see) -> None:
        """With one call more than there are steps."""
        self.asked.append(lora)
        if stage is Stage.PICTURE:
            self.on_step()
        super().show(stage, lora, active, watched, see)


class Bases:
    """Opens the toy, and keeps what was opened."""

    def __init__(self) -> None:
        self.models: list[ToyModel] = []

    def __call__(self) -> Base:
        return Base("toy.safetensors", ("toy", 1), self.model)

    def model(self, triggers, prompts, steps, size, on_step) -> ToyModel:
        """As a host does."""
        self.models.append(ToyModel(triggers, prompts, steps, size, on_step))
        return self.models[-1]

    @property
    def shown(self) -> int:
        """How often LoRAs were drawn with."""
        return sum(len(model.asked) for model in self.models)


def _never() -> Base:
    raise AssertionError("no base is needed")


def lora(folder: Path, name: str, seed: int, **more: torch.Tensor) -> Path:
    """A file with three layers."""
    torch.manual_seed(seed)
    tensors = dict(more)
    for layer in (TEXT, CROSS):
        tensors |= {
            f"{layer}.lora_down.weight": torch.randn(2, WIDTH),
            f"{layer}.lora_up.weight": torch.randn(WIDTH, 2),
        }
    tensors[f"{CONVOLVED}.lora_down.weight"] = torch.randn(2, WIDTH, 3, 3)
    tensors[f"{CONVOLVED}.lora_up.weight"] = torch.randn(4, 2, 1, 1)
    path = folder / f"{name}.safetensors"
    save_file(tensors, str(path), {"modelspec.trigger_phrase": f"{name} cat"})
    return path


@pytest.fixture
def wanted(tmp_path: Path) -> MergeRequest:
    two = (Ingredient(lora(tmp_path, "a", 1)), Ingredient(lora(tmp_path, "b", 2), 0.5))
    form = OutputForm(dtype="fp32")
    return MergeRequest(two, tmp_path / "two.safetensors", "span", form, steps=STEPS)


METHODS = ["span", "official", "fusion", "ssr", "weighted_sum", "svd", "dare"]


@pytest.mark.parametrize("method", METHODS)
def test_it_is_written_and_nothing_else_is_left(wanted: MergeRequest, method: str):
    told: list[str] = []
    job = MergeJob(replace(wanted, method=method), Bases())
    report = job.run(told.append)
    assert len(told) == job.work.total
    file = read_lora(wanted.out)
    assert set(file.layers) == {TEXT, CROSS, CONVOLVED}
    assert report.triggers == ("a cat", "b cat")
    assert {path.suffix for path in wanted.out.parent.iterdir()} == {".safetensors", ".json"}
    recipe = recipe_of("two", file.metadata)
    assert (recipe.method, recipe.settings["steps"], recipe.settings["rank"]) == (method, STEPS, None)
    assert recipe.base == ("toy.safetensors" if job.request.is_learnt else "")


def test_it_says_what_every_stage_came_to(wanted: MergeRequest):
    lines = MergeJob(wanted, Bases()).run().lines()
    assert [line.partition(":")[0] for line in lines] == ["text encoders", "keys and values of texts", "other layers"]
    assert all("1 layers, error 0." in line and "lost by rank and rounding" in line for line in lines)
    known = MergeJob(replace(wanted, method="svd", overwrite=True), _never).run()
    assert all("error" not in line for line in known.lines())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("moment", [1, 5, -2])
def test_cancelled_at_any_moment_it_goes_on_to_the_same_bits(wanted: MergeRequest, method: str, moment: int):
    wanted = replace(wanted, method=method)
    whole = replace(wanted, out=wanted.out.with_name("whole.safetensors"))
    bases = Bases()
    MergeJob(whole, bases).run()
    job, done = MergeJob(wanted, Bases()), 0

    def tell(_: str) -> None:
        nonlocal done
        done += 1
        if done == moment % job.work.total:
            raise MergeCancelled

    with pytest.raises(MergeCancelled):
        job.run(tell)
    assert not wanted.out.exists()
    assert not list(wanted.out.parent.rglob("*.part"))
    again, told = Bases(), list[str]()
    rest = MergeJob(wanted, again)
    rest.run(told.append)
    assert len(told) == rest.work.total, "what was done before is told too"
    assert again.shown < bases.shown or moment == 1 or not wanted.is_learnt
    one, other = load_file(wanted.out), load_file(whole.out)
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_what_is_under_way_is_gone_on_with_by_the_same_request_alone(wanted: MergeRequest):
    def stop(told: str) -> None:
        if told == CROSS:
            raise MergeCancelled

    under_way = wanted.out.with_name(wanted.out.name + UNDER_WAY)
    with pytest.raises(MergeCancelled):
        MergeJob(wanted, Bases()).run(stop)
    kept = sorted(under_way.iterdir())
    other = replace(wanted, method="fusion")
    assert MergeJob(other, Bases()).room, "a look removes nothing"
    assert sorted(under_way.iterdir()) == kept
    ranked, bases = replace(wanted, form=OutputForm(rank=1)), Bases()
    MergeJob(ranked, bases).run()
    assert bases.shown < 6, "the same layers are written in another form"
    with pytest.raises(MergeCancelled):
        MergeJob(replace(wanted, overwrite=True), Bases()).run(stop)
    bases = Bases()
    MergeJob(replace(other, overwrite=True), bases).run()
    assert bases.shown == 6


def test_a_known_way_keeps_every_layer_as_the_file_has_it(wanted: MergeRequest):
    def stop(told: str) -> None:
        if told == CROSS:
            raise MergeCancelled

    known = replace(wanted, method="weighted_sum")
    with pytest.raises(MergeCancelled):
        MergeJob(known, _never).run(stop)
    under_way = wanted.out.with_name(wanted.out.name + UNDER_WAY)
    assert {path.stem for path in under_way.glob("*.written")} == {TEXT, CROSS}
    spoilt = under_way / f"{TEXT}.written"
    before = spoilt.stat().st_mtime_ns
    MergeJob(known, _never).run(lambda told: told == TEXT and stop(str(spoilt.stat().st_mtime_ns == before)))
    assert wanted.out.exists()


def test_a_base_is_opened_only_where_one_is_needed(wanted: MergeRequest, tmp_path: Path):
    MergeJob(replace(wanted, method="ties"), _never)
    dora = lora(tmp_path, "dora", 3, **{f"{TEXT}.dora_scale": torch.ones(WIDTH, 1)})
    assert [needs_base(path) for path in (dora, wanted.ingredients[0].path)] == [True, False]
    job = MergeJob(replace(wanted, method="ties", ingredients=(*wanted.ingredients, Ingredient(dora))), Bases())
    assert job.base is not None
    job.run()
    assert recipe_of("two", read_lora(wanted.out).metadata).base == "toy.safetensors"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"method": "best"}, "There is no way to merge called “best”; choose one of default, span"),
        ({"form": OutputForm(dtype="fp8")}, "“fp8” is no precision; choose fp16, bf16, fp32"),
        ({"form": OutputForm(rank=0)}, "rank is 0: choose 1 or more"),
        ({"form": OutputForm(conv_rank=-1)}, "conv_rank is -1: choose 1 or more"),
        ({"steps": 0}, "steps is 0: choose 1 or more"),
        ({"ingredients": ()}, "There is no LoRA to merge"),
    ],
)
def test_what_nothing_can_be_made_of_is_told(wanted: MergeRequest, changed: dict, sentence: str):
    with pytest.raises(CLoRAError, match=sentence):
        MergeJob(replace(wanted, **changed), Bases())


def test_the_room_is_told_before_and_is_enough(wanted: MergeRequest):
    job = MergeJob(wanted, Bases())
    assert "MB of memory and" in job.room
    largest = 0

    def look(_: str) -> None:
        nonlocal largest
        folder = wanted.out.with_name(wanted.out.name + UNDER_WAY)
        largest = max(largest, sum(path.stat().st_size for path in folder.rglob("*.features")))

    job.run(look)
    assert job.work.disk_bytes < largest < job.work.disk_bytes + 4000
    assert wanted.out.stat().st_size < job.file_bytes + 8000


def test_the_prompts_are_those_of_the_method_or_the_users(wanted: MergeRequest):
    assert wanted.prompts.learned[0] == "a photo of a {}"
    assert replace(wanted, method="official").prompts.concept_alone
    own = replace(wanted, method="official", learned=("the {}",), held=("a {}",)).prompts
    assert (own.learned, own.held, own.concept_alone) == (("the {}",), ("a {}",), True)
