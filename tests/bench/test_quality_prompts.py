"""The two files of prompts: sizes, separation, and that every prompt binds as its entry says."""

import itertools
from pathlib import Path

import pytest

from bench.quality import prompts
from bench.quality.make_prompts import SAMPLING, SIZES, XL, XL_SIZES, make
from bench.quality.prompts import HERE, REPORTED, TUNING, Prompt, read, write
from clora_ext.errors import PromptError
from clora_ext.hosts.diffusers.library import Library
from clora_ext.prompt import bind, find_tags, remove_tags
from tiny_world.concepts import XL_CONCEPTS
from tiny_world.model import WEIGHTS
from tiny_world.noise import QUALITY, VERBS
from tiny_world.xl_model import XL_WEIGHTS

LIBRARY = Library(WEIGHTS / "lora", WEIGHTS / "lora-b", XL_WEIGHTS / "lora")
FILES = {"tuning": TUNING, "reported": REPORTED}
XL_FILES = {side: HERE / f"{side}-xl.json" for side in FILES}


def _pairs(path) -> set[frozenset[str]]:
    return {
        frozenset(pair) for prompt in read(path).prompts for pair in itertools.combinations(prompt.subjects.values(), 2)
    }


@pytest.mark.parametrize("side", FILES)
def test_the_data_is_what_the_generator_writes(side: str):
    assert list(read(FILES[side]).prompts) == make(side)
    counts = {split: sum(p.split == split for p in make(side)) for split in SIZES[side]}
    assert counts == SIZES[side]


@pytest.mark.parametrize("side", XL_FILES)
def test_the_other_worlds_data_is_what_the_generator_writes(side: str):
    asked = read(XL_FILES[side])
    assert list(asked.prompts) == make(side, book=XL)
    assert (asked.sampling.width, asked.sampling.height) == (192, 192)
    assert {split: sum(p.split == split for p in asked.prompts) for split in XL_SIZES} == XL_SIZES
    assert 4 * len(asked.prompts) >= 300


def test_half_of_the_other_worlds_pairs_are_for_tuning_and_no_pair_is_in_both():
    ours, theirs = (_pairs(path) for path in XL_FILES.values())
    assert not ours & theirs
    assert abs(len(XL.pairs_of("tuning")) - len(XL.pairs_of("reported"))) <= 1
    for side in XL_FILES:
        assert len(XL.groups(2, side, same=True)) == 2
        assert len(XL.groups(4, side, same=False)) >= 3


def test_the_other_worlds_prompts_have_noise_and_both_styles():
    for path in XL_FILES.values():
        asked = read(path).prompts
        texts = [remove_tags(prompt.prompt) for prompt in asked]
        assert sum(any(tag in text for tag in QUALITY) for text in texts) > 15
        assert sum(any(f" {verb}" in text for verb in VERBS) for text in texts) > 15
        assert {prompt.style.lora for prompt in asked if prompt.style} == {"lineart-xl", "blueink-xl"}


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


@pytest.mark.parametrize("path", [*FILES.values(), *XL_FILES.values()], ids=lambda path: path.stem)
def test_every_prompt_binds_as_its_entry_says(path: Path):
    for prompt in read(path).prompts:
        bound = bind(prompt.prompt, {tag.name: LIBRARY.facts(tag.name) for tag in find_tags(prompt.prompt)})
        assert {subject.lora for subject in bound.subjects} == set(prompt.subjects), prompt
        for subject in bound.subjects:
            concept = XL_CONCEPTS[prompt.subjects[subject.lora]]
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
