"""The two files of prompts: sizes, separation, and that every prompt binds as its entry says."""

import itertools

import pytest

from bench.quality import prompts
from bench.quality.make_prompts import SAMPLING, SIZES, make
from bench.quality.prompts import REPORTED, TUNING, Prompt, read, write
from clora_ext.errors import PromptError
from clora_ext.hosts.diffusers.library import Library
from clora_ext.prompt import bind, find_tags, remove_tags
from tiny_world.concepts import CONCEPTS
from tiny_world.model import WEIGHTS

LIBRARY = Library(WEIGHTS / "lora", WEIGHTS / "lora-b")
FILES = {"tuning": TUNING, "reported": REPORTED}


def _pairs(path) -> set[frozenset[str]]:
    return {
        frozenset(pair) for prompt in read(path).prompts for pair in itertools.combinations(prompt.subjects.values(), 2)
    }


@pytest.mark.parametrize("side", FILES)
def test_the_data_is_what_the_generator_writes(side: str):
    assert list(read(FILES[side]).prompts) == make(side)
    counts = {split: sum(p.split == split for p in make(side)) for split in SIZES[side]}
    assert counts == SIZES[side]


def test_the_reported_side_is_as_large_as_promised():
    least = {
        "two": 40,
        "three": 20,
        "four": 10,
        "same_class": 20,
        "style_global": 20,
        "style_on_one": 20,
        "single": 10,
    }
    assert all(SIZES["reported"][split] >= number for split, number in least.items())


def test_the_sides_share_nothing():
    ours, theirs = (read(path).prompts for path in (TUNING, REPORTED))
    assert not _pairs(TUNING) & _pairs(REPORTED)
    files = [{tag.name for prompt in side for tag in find_tags(prompt.prompt)} for side in (ours, theirs)]
    assert not files[0] & files[1]
    words = [{" ".join(remove_tags(prompt.prompt).split()) for prompt in side if prompt.split != "single"}
             for side in (ours, theirs)]  # fmt: skip
    assert not words[0] & words[1]


@pytest.mark.parametrize("side", FILES)
def test_every_prompt_binds_as_its_entry_says(side: str):
    for prompt in read(FILES[side]).prompts:
        bound = bind(prompt.prompt, {tag.name: LIBRARY.facts(tag.name) for tag in find_tags(prompt.prompt)})
        assert {subject.lora for subject in bound.subjects} == set(prompt.subjects), prompt
        for subject in bound.subjects:
            concept = CONCEPTS[prompt.subjects[subject.lora]]
            assert (subject.words.split()[-1], subject.trigger) == (concept.kind, concept.trigger), prompt
        style = prompt.style
        found = [(s.lora, None if s.on is None else bound.subjects[s.on].lora) for s in bound.styles]
        assert found == ([] if style is None else [(style.lora, style.on)]), prompt


def test_a_written_file_reads_back_and_errors_name_the_entry(tmp_path):
    path = tmp_path / "own.json"
    own = [
        Prompt("a", "two", "a cat <lora:x:1>", {"x": "tuxcat"}, ("ball",), prompts.Style("l", "x"), ({"lora": "x"},))
    ]
    write(path, "own", own, SAMPLING)
    assert read(path) == prompts.PromptSet("own", SAMPLING, tuple(own))
    path.write_text('{"prompts": ["a cat", {"prompt": "a dog", "colour": 1}]}', encoding="utf-8")
    with pytest.raises(PromptError, match=r"Entry 2 .*colour"):
        read(path)
    path.write_text('{"prompts": ["a cat", "a dog"]}', encoding="utf-8")
    assert [prompt.id for prompt in read(path).prompts] == ["001", "002"]
