"""The benchmark of merging: what it draws, what it makes of verdicts, and its tables."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="the benchmark runs with the tools' Python")

from bench.merging import ablation, cases, markdown, sheet, summary
from bench.merging.__main__ import ENDING, PARTS, main
from bench.merging.merges import merged
from bench.quality import folder
from bench.quality.encoding import pack_image
from bench.quality.jobs import Job, World
from clora_ext.lora.files import read_lora
from clora_ext.merge.prompts import PROMPTS
from clora_ext.prompt import find_tags, read_bindings, remove_tags
from tests.merge.toy_source import ToySource, toy_lora
from tiny_world.judge import kind_of

EIGHT = cases.SETS[8]
WORLD = World("code", {})
FIFTY = cases.Counts(50, 4, 2)


def _case(row: str, concepts: int = 8) -> cases.Case:
    return cases.Case(row, cases.SETS[concepts], ENDING)


def _lines(jobs: list[Job], status: str) -> dict[str, dict[str, Any]]:
    """A verdict of every picture: all subjects have ``status``."""
    found = {}
    for job in jobs:
        there = status == "present"
        line = {
            "rows": 38,
            "seconds": 1.0,
            "clip_t": 0.5,
            "extra": [],
            "subjects": [[n, status] for n in job.prompt.wanted],
        }
        line |= {"all": there, "right": there, "lenient": True, "classes": True}
        found |= {job.key(seed, WORLD): line for seed in job.seeds}
    return found


@pytest.mark.parametrize("row", ["before", "default"])
def test_each_concept_has_its_fifty_pictures_evenly_from_all_texts(row: str):
    jobs = [job for job in _case(row).jobs(FIFTY) if job.prompt.split == cases.SINGLE]
    per_concept = Counter[str]()
    for job in jobs:
        per_concept[job.prompt.wanted[0]] += len(job.seeds)
    assert per_concept == dict.fromkeys(EIGHT, 50)
    assert Counter(job.prompt.id.split()[1] for job in jobs) == dict.fromkeys(map(str, range(10)), 8)


def test_all_rows_draw_the_same_words_from_the_same_noise():
    drawn = []
    for row in ("before", "default", "ties"):
        jobs = _case(row).jobs(FIFTY)
        drawn.append([(remove_tags(job.prompt.prompt).strip(), job.seeds, job.prompt.wanted) for job in jobs])
    assert drawn[0] == drawn[1] == drawn[2]


def test_a_merged_file_is_worn_once_plain_and_under_two_names_by_clora():
    by_split = {job.prompt.split: job.prompt for job in _case("default").jobs(FIFTY)}
    worn = {split: [tag.name for tag in find_tags(prompt.prompt)] for split, prompt in by_split.items()}
    assert worn[cases.SINGLE] == worn[cases.TWO] == ["default-8-b"]
    assert worn[cases.TWO_CLORA] == ["default-8-b", "default-8-b-again"]
    bound = read_bindings(list(by_split[cases.TWO_CLORA].bindings))
    assert [binding.subject for binding in bound] == [kind_of(name) for name in by_split[cases.TWO_CLORA].wanted]
    by_lora = by_split[cases.TWO_CLORA].subjects
    assert list(by_lora) == worn[cases.TWO_CLORA], "its masks are judged by LoRA"


def test_no_text_is_one_that_a_merge_has_learnt_from_or_was_tuned_by():
    told = json.loads((Path(cases.__file__).parent / "texts.json").read_text(encoding="utf-8"))
    for split in (cases.SINGLE, cases.TWO):
        assert not set(told["reported"][split]) & {
            *told["tuning"][split],
            *PROMPTS.learned,
            *PROMPTS.held,
            *PROMPTS.pictured,
        }


def test_a_row_tells_rates_intervals_and_how_many_pictures_there_were():
    jobs = _case("default").jobs(FIFTY)
    right = summary.row(jobs, _lines(jobs, "present"), WORLD)
    assert (right["identity"], right["ci"], right["two_concepts"], right["text"]) == (1.0, [1.0, 1.0], 1.0, 0.5)
    assert right["pictures"] == {cases.SINGLE: 400, cases.TWO: 32, cases.TWO_CLORA: 16}
    wrong = summary.row(jobs, _lines(jobs, "wrong identity"), WORLD)
    assert (wrong["identity"], wrong["two_concepts_clora"], wrong["classes"]) == (0.0, 0.0, 1.0)
    assert summary.row(jobs, {}, WORLD) == {}


def test_the_table_leaves_empty_what_was_not_drawn():
    jobs = [job for job in _case("ties").jobs(FIFTY) if job.prompt.split == cases.SINGLE]
    row = summary.row(jobs, _lines(jobs, "present"), WORLD) | {"seconds": 12.3, "peak_bytes": 5e8}
    text = markdown.table({"concepts": {"8": {"ties": row}}}, 8)
    assert text.splitlines()[-1] == "| `ties` | 100% (100 to 100) | 0.50 | 100% |  |  | 12 | 500 | 400 |"


def test_every_known_way_is_drawn_and_the_main_ones_most():
    of_eight = [part for part in PARTS if part.concepts == 8]
    assert sorted(name for part in of_eight for name in part.rows) == sorted(cases.ROWS)
    assert of_eight[0].rows == cases.MAIN
    assert of_eight[0].counts.single >= 50


def test_a_merge_is_made_and_tells_what_it_cost(tmp_path: Path):
    world = folder.tiny_world()
    path = tmp_path / "weighted_sum-2.safetensors"
    cost = merged(
        ["tuxcat", "browndog", "--method", "weighted_sum", "--out", str(path), "--checkpoint", str(world.checkpoint)]
    )
    assert read_lora(path).layers
    assert cost["seconds"] > 0
    assert cost["peak_bytes"] > 10**8


def test_a_report_of_nothing_is_written_and_says_that_it_is_not_complete(tmp_path: Path):
    assert main(["--out", str(tmp_path), "--report-only", "--concepts", "2"]) == 3
    told = json.loads((tmp_path / "loraclr.json").read_text(encoding="utf-8"))
    assert (told["concepts"], told["complete"]) == ({}, False)


def test_the_ablation_solves_every_layer_by_every_variant(tmp_path: Path):
    found = ablation.errors([toy_lora(1), toy_lora(2)], ToySource(), tmp_path / "merge")
    assert set(found) == set(ablation.VARIANTS)
    assert set(found["default"]) == {"text", "cross", "picture"}
    assert found["ridge 10"]["text"] > found["default"]["text"]
    assert "| margin 0 |" in markdown.ablation({"2": found})


def test_the_sheet_has_the_first_picture_of_each_concept_beside_its_row():
    grey = pack_image(Image.new("RGB", (128, 128), "grey"))
    jobs = _case("before").jobs(cases.Counts(5, 0, 0))
    lines = {job.key(job.seeds[0], WORLD): {"webp": [grey]} for job in jobs if job.prompt.wanted != ("spotdog",)}
    found = sheet.firsts(_case("before"), lines, WORLD)
    assert set(found) == set(EIGHT) - {"spotdog"}
    page = np.asarray(sheet.sheet({"before": found}, EIGHT))
    greys = [bool((page[40:90, 92 + 98 * place + 48] == 128).all()) for place in range(8)]
    assert greys == [concept != "spotdog" for concept in EIGHT]
