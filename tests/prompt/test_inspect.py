"""What a prompt will do before it is drawn."""

import pytest

from clora_ext.prompt import LoraFacts, bind, inspect, parse_bindings
from tests.prompt import binding_table
from tests.prompt.checks import bind_or_say

FACTS = {name: LoraFacts(name) for name in ("tuxcat", "browndog", "ink")}


def test_the_inspection_agrees_with_the_binding():
    prompt = "a cat <lora:tuxcat:1> and a dog <lora:browndog:1> <lora:ink:1:on=dog>"
    seen = inspect(prompt, FACTS)
    assert seen.problem is None
    assert seen.bound == bind(prompt, FACTS)
    assert [(row.lora, row.subject, row.on) for row in seen.rows] == [
        ("tuxcat", "cat", None), ("browndog", "dog", None), ("ink", None, "browndog"),
    ]  # fmt: skip
    assert [seen.words[index].text for row in seen.rows for index in row.words] == ["cat", "dog"]


def test_a_problem_with_one_does_not_hide_the_others():
    seen = inspect("a cat and a cat and a dog <lora:tuxcat:1> <lora:browndog:1>", FACTS)
    assert seen.bound is None
    assert "occurrence" in seen.problem.message
    tux, dog = seen.rows
    assert tux.subject is None
    assert "occurrence" in tux.problem
    assert (dog.subject, dog.problem) == ("dog", None)
    cats = [word for word in seen.words if word.text == "cat"]
    assert [(word.occurrence, word.places, word.choosable) for word in cats] == [(1, 2, True), (2, 2, True)]
    assert not next(word for word in seen.words if word.text == "and").choosable


def test_rows_say_no_more_than_the_problem():
    """What each would draw alone is nothing that both could have."""
    seen = inspect("<lora:tuxcat:1> <lora:browndog:1> two animals, a kitten and a puppy, red hat", FACTS)
    assert seen.problem is not None
    assert [row.subject for row in seen.rows] == [None, None]
    said = inspect("a cat <lora:tuxcat:1:bind=cat> <lora:browndog:1:bind=cat>", FACTS)
    assert [(row.subject, row.in_tag) for row in said.rows] == [("cat", True), ("cat", True)]


def test_a_row_shows_words_that_are_not_in_the_prompt():
    (row,) = inspect("a cat <lora:tuxcat:1>", FACTS, parse_bindings('tuxcat: "red: cat", trigger=vako')).rows
    assert (row.subject, row.trigger, row.words, row.in_tag) == ("red: cat", "vako", (), False)
    assert "not in the prompt" in row.problem


def test_a_phrase_knows_its_places_and_where_it_may_go_on():
    seen = inspect("a house cat, a cat in the snow <lora:tuxcat:1:bind=house cat>", FACTS)
    (row,) = seen.rows
    assert (row.subject, row.occurrence, row.places) == ("house cat", 1, 1)
    assert [word.text for word in seen.words if not word.joined] == ["cat"]


@pytest.mark.parametrize("prompt", ["a cat AND a dog <lora:tuxcat:1>", "a cat <lora:tuxcat:much>", "<lora:none:1>"])
def test_a_prompt_that_can_not_be_read_says_so(prompt: str):
    seen = inspect(prompt, FACTS)
    assert seen.bound is None
    assert seen.problem.message.endswith(".")
    assert seen.rows == ()


@pytest.mark.parametrize("case", binding_table.CASES, ids=lambda case: case.prompt)
def test_the_inspection_says_what_binding_says(case: binding_table.Case):
    bindings = parse_bindings(case.bindings)
    seen = inspect(case.prompt, binding_table.FACTS, bindings)
    bound, said = bind_or_say(case.prompt, binding_table.FACTS, bindings)
    assert seen.bound == bound
    assert (None if seen.problem is None else seen.problem.message) == said
    assert said is None or all(word in said for word in case.error)
