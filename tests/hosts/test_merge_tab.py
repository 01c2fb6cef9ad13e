"""What the merge tab makes of its fields, and how a merge in WebUI's queue stands, without a WebUI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clora_ext.errors import CLoRAError, LoraError, SettingsError
from clora_ext.hosts.webui.merge.fields import (
    order_fields,
    rows_of_prompt,
    values_of_recipe,
)
from clora_ext.hosts.webui.merge.form import FORM, form_as_data
from clora_ext.hosts.webui.merge.order import MergeOrder, file_name, order_of
from clora_ext.hosts.webui.merge.task import MergeTask, told_seconds
from clora_ext.merge.baselines import BASELINES
from clora_ext.merge.inputs import Ingredient
from clora_ext.merge.job import MergeJob, MergeRequest
from clora_ext.merge.methods import MERGE_METHODS
from clora_ext.merge.output import OutputForm
from clora_ext.merge.recipe import Part, Recipe
from clora_ext.merge.ways import WAYS
from tests.merge.test_job import Bases, lora

CPU = torch.device("cpu")
FIELDS: dict[str, Any] = {
    "rows": [["tuxcat", 1, "vako cat"], ["browndog", "0,8", None]],
    "name": "six",
    "overwrite": False,
    "method": "svd",
    "rank": " Auto ",
    "conv_rank": "8",
    "precision": "bf16",
    "full": False,
    "prompt": "a {}\n\n the {} \n",
    "held_prompt": "",
    "steps": 20,
    "joint_steps": "auto",
    "memory": 1,
}


def _order(**changed: Any) -> MergeOrder:
    return order_of(order_fields(FIELDS | changed))


# -- fields ------------------------------------------------------------------------------------------------------------


def test_the_fields_make_an_order():
    order = _order()
    assert [(part.name, part.ratio, part.trigger) for part in order.loras] == [
        ("tuxcat", 1.0, "vako cat"),
        ("browndog", 0.8, ""),
    ]
    assert (order.name, order.method, order.prompt, order.held_prompt) == ("six", "svd", ["a {}", "the {}"], [])
    assert order.form == OutputForm(rank=None, conv_rank=8, dtype="bf16")
    assert _order(rank="", full=True).form == OutputForm("full", None, 8, dtype="bf16")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"rows": [["tuxcat", "much", ""]]}, "The ratio of tuxcat is 'much': write a number such as 0.8"),
        ({"rows": [["tuxcat", None, ""]]}, "The ratio of tuxcat is None"),
        ({"rank": "-3"}, "“-3” is no rank: write auto, or a number such as 32"),
        ({"conv_rank": "big"}, "“big” is no rank"),
        ({"rank": "0"}, "The field “rank” is wrong"),
        ({"steps": 0}, "The field “steps” is wrong"),
        ({"memory": float("nan")}, "The field “memory” is wrong"),
        ({"steps": None}, "The field “steps” is wrong"),
    ],
)
def test_what_a_field_can_not_mean_is_told(changed: dict, sentence: str):
    with pytest.raises(SettingsError, match=sentence):
        _order(**changed)


def test_an_empty_row_names_nothing():
    assert _order(rows=[["", None, ""]]).loras == []


def test_what_is_not_known_is_refused():
    with pytest.raises(SettingsError, match=r"The field “loras\.0\.weight” is wrong"):
        order_of({"loras": [{"name": "a", "weight": 1}], "name": "six"})


def test_rows_are_taken_from_a_prompt_with_their_weights():
    text = "a cat <lora:tuxcat:0.7> and <lora:browndog:1:0.5> <lora:tuxcat:0.2> <hypernet:x:1>"
    assert rows_of_prompt(text, str.upper) == [["tuxcat", 0.9, "TUXCAT"], ["browndog", 0.5, "BROWNDOG"]]
    with pytest.raises(SettingsError, match="The prompt of txt2img has no LoRA"):
        rows_of_prompt("a cat", str)


def test_a_recipe_fills_what_its_order_had():
    order = _order(method="default", rank="16", held_prompt="a {}")
    asked = {"prompt": order.prompt, "held_prompt": order.held_prompt}
    settings = {"steps": 20, "kind": "low_rank", "rank": 16, "conv_rank": 8, "dtype": "bf16", **asked}
    parts = (Part("tuxcat", 1.0, "vako cat"), Part("browndog", 0.8))
    values = FIELDS | values_of_recipe("six", Recipe("default", parts, "tiny.safetensors", settings))
    assert order_of(order_fields(values)) == order


def test_the_form_as_it_is_drawn_makes_an_order():
    first = {field["name"]: field["value"] for part in form_as_data() for field in part["fields"]}
    rows = FIELDS["rows"]
    assert order_of(order_fields({**first, "rows": rows, "name": "six"})) == MergeOrder(
        **order_fields({**FIELDS, "rank": "", "conv_rank": "", "method": "default", "precision": "fp16", "prompt": ""})
    )
    assert {field.name for fields in FORM.values() for field in fields} | {"rows"} == FIELDS.keys()


# -- the file's name ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["six", " six ", "my six (v2)", "six.v2", "六", "a-b_c"])
def test_a_name_is_a_file_in_the_folder(name: str):
    assert (Path("lora") / file_name(name)).parent == Path("lora")
    assert file_name(name) == f"{name.strip()}.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", "../six", "..\\six", "/six", "a/b", "C:six", "C:\\six", "six\x00", "s\nx"),
        *("si:x", "a<b", "a>b", "~/../six"),
        *(".six", "six.", "con", "NUL.x", "a,b", "x" * 101, "six.safetensors", "six.pt", "a.merging"),
    ],
)  # fmt: skip
def test_no_other_name_is(name: str):
    with pytest.raises(SettingsError) as caught:
        file_name(name)
    assert caught.value.field == "name"
    assert caught.value.message.isprintable()


def test_every_way_has_its_line():
    assert list(WAYS) == [*MERGE_METHODS, *BASELINES]
    assert all(line.endswith(".") and len(line) < 120 for line in WAYS.values())


# -- a task ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path) -> MergeJob:
    two = (Ingredient(lora(tmp_path, "a", 1)), Ingredient(lora(tmp_path, "b", 2)))
    return MergeJob(MergeRequest(two, tmp_path / "two.safetensors", "span", steps=3), Bases())


def _nothing() -> None:
    """Told of something."""


def test_a_task_tells_how_far_it_is_and_what_it_came_to(job: MergeJob):
    task, seen, written = MergeTask("two", ["a note"], job.room), [], []
    assert task.line == "two waits until what is drawn or merged before it is done."

    def tell() -> None:
        seen.append((task.line, task.status()))

    task.run(lambda: job, CPU, tell, lambda: written.append(job.request.out.exists()))
    task.over()
    assert task.wait(0) and written == [True]
    assert [status["done"] for _, status in seen] == list(range(1, job.work.total + 1))
    assert seen[3][0].startswith(f"Merging two: {4 / job.work.total:.0%}, about ")
    assert {status["state"] for _, status in seen} == {"merging"}
    status = task.status()
    assert (status["state"], status["file"], status["error"]) == ("done", "two.safetensors", None)
    assert status["report"]["stages"]["text"]["layers"] == 1
    assert status["peak_bytes"] > 2**20
    assert "<lora:two:1>" in task.line
    lines = task.details.splitlines()
    assert lines[:2] == ["a note.", f"Merging {job.room}."]
    assert lines[2] == "Triggers: a cat, b cat" and lines[3].startswith("text encoders: 1 layers, error 0.")
    assert lines[-1].endswith("MB of memory at most, the model's included")


@pytest.mark.parametrize("at", [0, 5])
def test_a_task_that_is_cancelled_leaves_no_file_and_goes_on(job: MergeJob, at: int):
    task = MergeTask("two")

    def tell() -> None:
        if task.done == at:
            task.cancel()

    if not at:
        task.cancel()
    task.run(lambda: job, CPU, tell, _nothing)
    assert task.state == "cancelled" and not job.request.out.exists()
    assert task.line == "two was cancelled. What is done stays, and the same merge goes on from there."
    again = MergeTask("two")
    again.run(lambda: MergeJob(job.request, Bases()), CPU, _nothing, _nothing)
    assert again.state == "done" and job.request.out.exists()


@pytest.mark.parametrize(
    ("error", "state", "line"),
    [
        (LoraError("LoRA a is spoilt: take another.", field="lora"), "refused", "✗ LoRA a is spoilt: take another."),
        (MemoryError(), "failed", "✗ Memory ran out: lower the memory for inputs"),
        (ValueError("odd"), "failed", "✗ The merge failed (ValueError: odd); the log has more."),
    ],
)
def test_how_a_task_fails_is_told(error: Exception, state: str, line: str):
    def broken() -> MergeJob:
        raise error

    task = MergeTask("two")
    task.run(broken, CPU, _nothing, _nothing)
    assert task.state == state
    assert task.line.startswith(line)


def test_every_refusal_of_a_merge_reaches_the_task(job: MergeJob):
    job.request.out.write_bytes(b"there")
    task = MergeTask("two")
    task.run(lambda: MergeJob(job.request, Bases()), CPU, _nothing, _nothing)
    assert task.line == "✗ two.safetensors is there already: choose another name, or allow overwriting."
    with pytest.raises(CLoRAError, match="is there already"):
        MergeJob(job.request, Bases())


def test_seconds_are_told_in_words():
    assert [told_seconds(seconds) for seconds in (0.4, 61, 3600)] == ["0 s", "1 min 1 s", "60 min 0 s"]
