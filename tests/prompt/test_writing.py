"""Writing bindings back, and what a prompt will do before it is drawn."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clora_ext.errors import BindingError
from clora_ext.prompt import LoraFacts, Request, bind, find_tags, outlook, remove_tags, write

FACTS = {name: LoraFacts(name) for name in ("tuxcat", "browndog", "ink")}
PROMPT = "a cat <lora:tuxcat:1.2> and a dog <lora:browndog:1:0.5:8:te=0.3:lbw=A> and a cat"
steady = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("lora", "changes", "tag"),
    [
        ("tuxcat", {"subject": "cat", "occurrence": 2}, "<lora:tuxcat:1.2:bind=cat:occurrence=2>"),
        ("tuxcat", {"weight": 0.8}, "<lora:tuxcat:0.8>"),
        ("browndog", {"weight": 0.8}, "<lora:browndog:0.8:0.8:8:lbw=A>"),
        ("tuxcat", {"role": "style", "subject": None}, "<lora:tuxcat:1.2:role=style>"),
    ],
)
def test_a_change_is_written_in_the_tag(lora: str, changes: dict, tag: str):
    prompt, requests = write(PROMPT, (), [lora], changes)
    assert tag in prompt
    assert requests == ()
    assert remove_tags(prompt) == remove_tags(PROMPT)


def test_what_was_written_is_taken_back():
    bound, _ = write(PROMPT, (), ["tuxcat"], {"subject": "cat", "trigger": "vako"})
    assert write(bound, (), ["tuxcat"], {"subject": None, "trigger": None})[0] == PROMPT


def test_a_line_of_its_own_is_kept_and_changed():
    line = Request("tuxcat", weight=0.7)
    prompt, requests = write(PROMPT, (line,), ["tuxcat"], {"subject": "cat"})
    assert (prompt, requests) == (PROMPT, (Request("tuxcat", weight=0.7, subject="cat"),))
    assert write(PROMPT, requests, ["tuxcat"], {"subject": None, "weight": None}) == (PROMPT, ())


def test_what_a_tag_can_not_hold_becomes_a_line():
    prompt, requests = write(PROMPT, (), ["tuxcat"], {"trigger": "vako: the (cat:1.1)"})
    assert (prompt, requests) == (PROMPT, (Request("tuxcat", trigger="vako: the (cat:1.1)"),))


def test_a_value_that_can_not_be_is_refused():
    with pytest.raises(BindingError, match="role"):
        write(PROMPT, (), ["tuxcat"], {"role": "hero"})


@steady
@given(
    st.sampled_from(["tuxcat", "browndog"]),
    st.fixed_dictionaries(
        {},
        optional={
            "subject": st.from_regex(r"[^\W\d_]{1,8}", fullmatch=True),
            "occurrence": st.integers(1, 9),
            "weight": st.floats(-2, 2).map(lambda x: round(x, 3)),
            "trigger": st.sampled_from(["", "vako", "a: b", "x=y", "two words", "<b>", '"', "\u202eabc"]),
        },
    ),
)
def test_what_is_written_is_read_again(lora: str, changes: dict):
    try:
        prompt, requests = write(PROMPT, (), [lora], changes)
    except BindingError:
        return
    assert remove_tags(prompt) == remove_tags(PROMPT)
    (tag,) = (tag for tag in find_tags(prompt) if tag.name == lora)
    if requests:
        assert {name: getattr(requests[0], name) for name in changes} == changes
        return
    named = {"subject": tag.named.get("bind"), "trigger": tag.named.get("trigger"), "weight": tag.unet}
    named["occurrence"] = int(tag.named["occurrence"]) if "occurrence" in tag.named else None
    assert {name: named[name] for name in changes} == pytest.approx(changes)


def test_the_outlook_agrees_with_the_binding():
    prompt = "a cat <lora:tuxcat:1> and a dog <lora:browndog:1> <lora:ink:1:on=dog>"
    seen = outlook(prompt, FACTS)
    assert seen.problem is None
    assert seen.bound == bind(prompt, FACTS)
    assert [(row.lora, row.subject, row.on) for row in seen.rows] == [
        ("tuxcat", "cat", None), ("browndog", "dog", None), ("ink", None, "browndog"),
    ]  # fmt: skip
    assert [seen.chips[index].text for row in seen.rows for index in row.words] == ["cat", "dog"]


def test_a_problem_with_one_does_not_hide_the_others():
    seen = outlook("a cat and a cat and a dog <lora:tuxcat:1> <lora:browndog:1>", FACTS)
    assert seen.bound is None
    assert "occurrence" in seen.problem.message
    tux, dog = seen.rows
    assert tux.subject is None
    assert "occurrence" in tux.problem
    assert (dog.subject, dog.problem) == ("dog", None)
    cats = [chip for chip in seen.chips if chip.text == "cat"]
    assert [(chip.occurrence, chip.places, chip.choosable) for chip in cats] == [(1, 2, True), (2, 2, True)]
    assert not next(chip for chip in seen.chips if chip.text == "and").choosable


def test_a_phrase_knows_its_places_and_where_it_may_go_on():
    seen = outlook("a house cat, a cat in the snow <lora:tuxcat:1:bind=house cat>", FACTS)
    (row,) = seen.rows
    assert (row.subject, row.occurrence, row.places) == ("house cat", 1, 1)
    assert [chip.text for chip in seen.chips if not chip.joined] == ["cat"]


@pytest.mark.parametrize("prompt", ["a cat AND a dog <lora:tuxcat:1>", "a cat <lora:tuxcat:much>", "<lora:none:1>"])
def test_a_prompt_that_can_not_be_read_says_so(prompt: str):
    seen = outlook(prompt, FACTS)
    assert seen.bound is None
    assert seen.problem.message.endswith(".")
    assert seen.rows == ()
