"""The runner on the tiny world: resumes, stops in time, draws what the rows say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.quality import folder, markdown, summary
from bench.quality.__main__ import chosen_rows, main
from bench.quality.draw import draw
from bench.quality.encoding import pack, unpack_image
from bench.quality.extractors import Extractors
from bench.quality.jobs import Job, World, interleaved, missing, plan, seeds_of
from bench.quality.labels import LABELS
from bench.quality.methods import TUNED, Method, save, table, tuned_of, variants
from bench.quality.pool import InProcess
from bench.quality.prompts import REPORTED, Prompt, Sampling, Style, read, write
from bench.quality.store import Store
from bench.quality.worker import Setup, Worker
from clora_ext.settings.profiles import METHODS, PROFILES
from tiny_world.judge_more import MoreJudge
from tiny_world.model import WEIGHTS
from tiny_world.worlds import FIRST, XL

SAMPLING = Sampling(steps=3)
WORLD = World("code", {"tuxcat": "one", "browndog": "two", "starball": "three"})
TWO = Prompt(
    "two", "two", "a vako cat <lora:tuxcat:1> and a pleko dog <lora:browndog:1> in the grass",
    {"tuxcat": "tuxcat", "browndog": "browndog"},
)  # fmt: skip
SETUP = Setup(replace(folder.tiny_world(), eye=None))


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker(SETUP)


def _job(row: str = "merge", *, seeds: tuple[int, ...] = (1,), leak: bool = False, prompt: Prompt = TWO) -> Job:
    return Job(prompt, table()[row], seeds, SAMPLING, leak, seeds[:1])


def test_every_method_and_profile_is_a_row():
    assert set(table()) == {"base", "single"} | (set(METHODS) - {"clora"}) | set(PROFILES)


def test_tuned_values_reach_their_rows_but_not_the_authors(tmp_path):
    path = tmp_path / "tuned.json"
    save("balanced", 0.9, {}, path)
    save("merge", 0.4, {}, path)
    save("switch", 1.0, {"switch_every": 2}, path)
    rows = table(path)
    assert rows["switch"].settings.switch_every == 2
    assert (rows["merge"].weight, rows["balanced"].weight, rows["authors"].weight) == (0.4, 0.9, 0.9)
    assert rows["authors"].settings == Method("a", profile="authors", method="clora").settings


def test_a_worlds_own_values_count_before_the_first_ones(tmp_path):
    first, own = tmp_path / "tuned.json", tmp_path / "tuned-xl.json"
    save("balanced", 0.9, {}, first)
    save("masks", 0.7, {"mask_threshold": 0.2}, first)
    save("masks", 0.8, {}, own)
    rows = table(first, own, tmp_path / "none.json")
    assert (rows["balanced"].weight, rows["masks"].weight, rows["masks"].knobs) == (0.9, 0.8, {})
    assert [path.name for path in tuned_of(XL)] == ["tuned.json", "tuned-xl.json"]
    assert tuned_of(FIRST) == (TUNED,)


def test_the_fused_row_never_routes_and_is_drawn_when_it_is_asked_for():
    fused, balanced = variants()["fused"], table()["balanced"]
    assert not fused.settings.routes
    assert balanced.settings.routes
    assert (fused.weight, fused.settings.mask_threshold) == (balanced.weight, balanced.settings.mask_threshold)
    assert "fused" not in chosen_rows("", "full", FIRST)
    assert list(chosen_rows("fused, fast", "default", FIRST)) == ["fused", "fast"]


def test_each_world_is_drawn_and_judged_by_its_own_files():
    first, other = folder.tiny_world(), folder.tiny_world(XL)
    assert (other.checkpoint.name, other.config.name) == ("tiny-world-xl.safetensors", "tiny-world-xl.yaml")
    assert (other.tokenizer / "vocab.json").is_file()
    assert [one.name for one in first.loras] == ["lora", "lora-b"]
    assert type(other.load_judge()) is MoreJudge
    assert set(first.judge) < set(other.judge)
    assert Extractors.load(other).eye.size == XL.size
    assert not XL.beside(LABELS).is_file()
    elsewhere = folder.tiny_world(FIRST, WEIGHTS.parent / "other" / ".." / "weights")
    assert elsewhere.hashes() == first.hashes()


def test_a_batch_and_its_judgement(worker: Worker):
    lines = worker.perform(_job("balanced", seeds=(5, 6), leak=True))
    assert [line["seed"] for line in lines] == [5, 6]
    assert all({"all", "subjects", "lenient", "rows", "seconds", "leakage"} <= set(line) for line in lines)
    assert all(0.0 < line["leakage"] < 0.5 for line in lines)
    assert "webp" in lines[0]
    assert "webp" not in lines[1]
    assert unpack_image(lines[0]["webp"][0]).size == (128, 128)


def test_weights_base_and_single_are_what_they_say(worker: Worker):
    def pixels(job: Job, place: int = 0) -> np.ndarray:
        return np.asarray(draw(worker.model, worker.library, job)[place].images[0], dtype=int)

    merge, base, single = (_job(row) for row in ("merge", "base", "single"))
    none = replace(merge, method=replace(merge.method, weight=0.0))
    triggered = Prompt("p", "two", "a vako cat and a pleko dog in the grass")
    assert np.abs(pixels(none) - pixels(replace(base, prompt=triggered))).max() <= 1
    assert np.abs(pixels(base) - pixels(merge)).max() > 5
    assert len(draw(worker.model, worker.library, single)) == 2
    cat = Prompt("p", "one", "a vako cat <lora:tuxcat:1>  and a dog  in the grass", {"tuxcat": "tuxcat"})
    alone = replace(merge, prompt=cat, method=replace(merge.method, weight=single.method.weight))
    assert np.abs(pixels(single) - pixels(alone)).max() <= 1


def test_keys_name_everything_that_decides():
    job = _job()
    keys = {
        job.key(1, WORLD),
        job.key(2, WORLD),
        job.key(1, replace(WORLD, common="other")),
        job.key(1, replace(WORLD, loras=WORLD.loras | {"tuxcat": "other"})),
        replace(job, leak=True).key(1, WORLD),
        replace(job, sampling=Sampling(steps=4)).key(1, WORLD),
        replace(job, method=table()["composite"]).key(1, WORLD),
        replace(job, method=replace(job.method, weight=0.3)).key(1, WORLD),
        replace(job, prompt=replace(TWO, prompt=TWO.prompt + "!")).key(1, WORLD),
    }
    assert len(keys) == 9
    assert replace(job, method=replace(job.method, name="other")).key(1, WORLD) == job.key(1, WORLD)


def test_a_picture_hangs_on_the_loras_it_wears_alone():
    job, other = _job(), replace(WORLD, loras=WORLD.loras | {"starball": "other"})
    assert job.key(1, other) == job.key(1, WORLD)
    base = replace(job, method=table()["base"])
    assert base.key(1, replace(WORLD, loras={})) == base.key(1, WORLD)


def test_only_what_is_missing_is_drawn_in_batches():
    job = _job(seeds=(1, 2, 3, 4, 5))
    done = {job.key(seed, WORLD) for seed in (2, 4)}
    assert [left.seeds for left in missing([job], done, WORLD, 2)] == [(1, 3), (5,)]


def test_a_store_survives_a_line_cut_off(tmp_path):
    store = Store(tmp_path / "lines.jsonl")
    store.add([{"key": "a", "n": 1}, {"key": "b", "n": 2}])
    store.path.write_text(store.path.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    again = Store(store.path)
    assert "a" in again
    assert "b" not in again
    again.add([{"key": "c"}])
    assert set(Store(store.path).lines) == {"a", "c"}


def test_prompts_take_turns_and_share_noise_over_methods():
    asked = read(REPORTED).prompts
    first = [prompt.split for prompt in interleaved(asked)][:14]
    assert len(set(first)) >= 6
    jobs = plan(asked, table(), 3, SAMPLING, only={"paper": ("two",)}, leaking=2)
    own = [job for job in jobs if job.prompt.id == "two-01"]
    assert len({job.seeds for job in own}) == 1
    assert {job.prompt.split for job in jobs if job.method.name == "paper"} == {"two"}
    assert sum(job.leak for job in jobs if job.method.name == "merge") == 4
    assert not set(seeds_of(asked[0], 3)) & set(seeds_of(asked[1], 3))


def test_no_time_no_job():
    assert list(InProcess(SETUP).run([_job()], until=0.0)) == []


def test_the_command_resumes_and_writes_all_three_files(tmp_path, capsys):
    path = tmp_path / "prompts.json"
    write(path, "small", [TWO], SAMPLING)
    given = ["--prompts", str(path), "--rows", "base,merge,balanced", "--seeds", "2", "--workers", "1",
             "--mode", "default", "--out", str(tmp_path)]  # fmt: skip
    lines = tmp_path / "quality.jsonl"
    assert main(given) == 0
    kept = lines.read_text(encoding="utf-8")
    assert main(given) == 0
    assert lines.read_text(encoding="utf-8") == kept
    found = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    assert found["complete"]
    assert found["hashes"]["judge"]
    own = found["methods"]["balanced"]["two"]
    assert own["n"] == 2
    assert own["ci"][0] <= own["all_present"] <= own["ci"][1]
    assert set(found["base_rate"]) == {"two"}
    assert "balanced - merge" in found["differences"]["two"]
    page = (tmp_path / "quality.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp") >= 3
    assert "http" not in page
    other = str(tmp_path / "other")
    beside = f"elsewhere={tmp_path / 'quality.json'}"
    assert main([*given[:-1], other, "--report-only", "--beside", beside]) == 3
    assert "`balanced, elsewhere`" in (tmp_path / "other" / "quality.md").read_text(encoding="utf-8")
    assert main([*given, "--rows", "nothing"]) == 2
    assert "balanced" in capsys.readouterr().err


def test_rates_come_from_the_lines():
    asked = read(REPORTED)
    prompt = asked.prompts[0]
    jobs = [Job(prompt, table()[row], (1, 2), SAMPLING) for row in ("base", "merge", "balanced")]
    right = {"base": (True, True), "merge": (False, False), "balanced": (True, False)}
    lines = {}
    for job in jobs:
        for seed, good in zip(job.seeds, right[job.method.name], strict=True):
            lines[job.key(seed, WORLD)] = {
                "all": good, "right": good, "lenient": True, "classes": good, "extra": [], "rows": 4, "seconds": 1.0,
                "subjects": [["a", "present"], ["b", "present" if good else "mixed"]],
            }  # fmt: skip
    found = summary.summarise(asked, summary.collect(jobs, lines, WORLD), [])
    assert found["base_rate"] == {"two": 1.0}
    own = found["methods"]["balanced"]["two"]
    assert (own["all_present"], own["identity"], own["mixed"], own["share_of_base"]) == (0.5, 0.75, 0.25, 0.5)
    assert found["differences"]["two"]["balanced - merge"]["difference"] == 0.5


def test_strength_is_told_with_its_interval_and_its_paired_difference():
    asked = read(REPORTED)
    prompt = asked.prompts[0]
    jobs = [Job(prompt, table()[row], (1, 2), SAMPLING) for row in ("merge", "balanced")]
    (one, _), near = list(prompt.subjects), {"merge": 0.5, "balanced": 1.0}
    lines, reference = {}, [{"prompt": f"reference {one} cat", "crops": {one: {"dino": _vector(1.0)}}}] * 2
    for job in jobs:
        for seed in job.seeds:
            lines[job.key(seed, WORLD)] = {
                "all": True, "right": True, "lenient": True, "classes": True, "extra": [], "rows": 4, "seconds": 1.0,
                "subjects": [["a", "present"]], "crops": {one: {"dino": _vector(near[job.method.name])}},
            }  # fmt: skip
    found = summary.summarise(asked, summary.collect(jobs, lines, WORLD), reference)
    assert found["methods"]["merge"]["two"]["strength"] == pytest.approx(0.5, abs=1e-3)
    assert found["methods"]["balanced"]["two"]["strength_ci"] == [1.0, 1.0]
    assert found["differences"]["two"]["balanced - merge"]["strength"]["difference"] == pytest.approx(0.5, abs=1e-3)
    assert "| `merge` | 0.50 (0.50 to 0.50) |" in markdown.strengths(found)
    assert "+50.0 (+50.0 to +50.0)" in markdown.differences(found)
    assert markdown.strengths(summary.summarise(asked, summary.collect(jobs, lines, WORLD), [])) == ""


def _vector(cosine: float) -> str:
    return pack(torch.tensor([cosine, (1 - cosine**2) ** 0.5]))


def test_subjects_in_line_art_have_no_identity():
    line = {
        "all": True, "right": False, "lenient": True, "classes": True, "extra": [], "rows": 4, "seconds": 1.0,
        "subjects": [["tuxcat", "wrong identity"], ["browndog", "present"]],
    }  # fmt: skip
    everywhere, on_cat = (replace(TWO, style=Style("lineart", on)) for on in (None, "tuxcat"))
    assert summary.figures(line, TWO, {})["wrong"] == 0.5
    assert "identity" not in summary.figures(line, everywhere, {})
    assert summary.figures(line, on_cat, {})["identity"] == 1.0
