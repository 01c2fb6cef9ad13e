"""The branches' texts: whose trigger stands where, and what taking one out leaves."""

import pytest

from clora_ext.errors import BindingError
from clora_ext.prompt import Binding, LoraFacts, bind, remove_tags
from tests.prompt.binding_table import FACTS
from tests.prompt.checks import check_places

STYLED = {
    "tux": LoraFacts("tux"),
    "brown": LoraFacts("brown"),
    "ink": LoraFacts("ink", triggers=("frizu style", "frizu")),
}


@pytest.mark.parametrize(
    ("prompt", "styled", "other"),
    [
        ("a cat and a dog", "a cat and a dog, frizu style", "a cat and a dog"),
        ("a cat and a dog, ", "a cat and a dog, frizu style", "a cat and a dog, "),
        ("a cat and a dog, frizu style", "a cat and a dog, frizu style", "a cat and a dog"),
        ("frizu style, a cat and a dog", "frizu style, a cat and a dog", "a cat and a dog"),
        ("a cat and a (frizu) dog", "a cat and a (frizu) dog", "a cat and a dog"),
    ],
)
def test_a_style_on_one_subject_has_its_trigger_in_that_branch_only(prompt: str, styled: str, other: str):
    bindings = (Binding("tux", subject="cat"), Binding("brown", subject="dog"), Binding("ink", on="tux"))
    bound = bind(prompt, STYLED, bindings)
    assert bound.branches == (styled, other)
    assert bound.base == other
    assert bound.styles[0].trigger in ("frizu style", "frizu")
    check_places(bound)


@pytest.mark.parametrize(("trigger", "styled"), [("pen, ink", "a cat and a dog, pen, ink"), ("", "a cat and a dog")])
def test_the_trigger_of_a_style_on_one_subject_can_be_said(trigger: str, styled: str):
    prompt = f"a cat and a dog <lora:tux:1:bind=cat><lora:brown:1:bind=dog><lora:ink:1:on=dog:trigger={trigger}>"
    bound = bind(prompt, STYLED)
    assert bound.branches == ("a cat and a dog ", f"{styled} " if not trigger else styled)
    assert bound.styles[0].trigger == (trigger or None)


def test_a_style_everywhere_takes_no_trigger():
    with pytest.raises(BindingError, match="takes no “trigger”"):
        bind("a cat", STYLED, (Binding("ink", role="style", trigger="frizu"),))


def test_without_subjects_there_is_only_the_base():
    bound = bind("a cat <lora:lineart:1:role=style>", FACTS)
    assert bound.texts == ("a cat ",)
    assert bound.places == ((),)


def test_with_one_lora_its_branch_is_the_text_that_webui_encodes():
    for prompt in ("a zorv cat, <lora:zorv:1>, best quality", "(zorv:1.2) cat <lora:zorv:1><hypernet:h:1>"):
        assert bind(prompt, FACTS).branches == (remove_tags(prompt),)


@pytest.mark.parametrize(
    ("prompt", "base"),
    [
        ("zorv, cat", "cat"),
        ("cat, zorv", "cat"),
        ("cat, zorv, dog", "cat, dog"),
        ("cat,zorv,dog", "cat,dog"),
        ("cat, (zorv:1.2), dog", "cat, dog"),
        ("(zorv, cat:1.2)", "(cat:1.2)"),
        ("(cat, zorv:1.2), dog", "(cat:1.2), dog"),
        ("((zorv)) cat", "cat"),
        ("[zorv] cat", "cat"),
        ("dog BREAK zorv, cat", "dog BREAK cat"),
        ("cat, zorv BREAK dog", "cat BREAK dog"),
        ("cat, zorv\ndog", "cat\ndog"),
        ("cat\nzorv, dog", "cat\ndog"),
        ("a zorv cat. dog", "a cat. dog"),
        ("big_zorv_cat", "big_cat"),
        ("zorv_cat", "cat"),
        ("a zorv  cat", "a cat"),
        ("a  small zorv cat,, dog", "a  small cat,, dog"),
        ("\\(zorv cat\\)", "\\(cat\\)"),
        ("zorv's cat", "'s cat"),
        ("(a zorv) cat", "(a) cat"),
    ],
)
def test_taking_a_trigger_out_leaves_no_scar(prompt: str, base: str):
    bound = bind(prompt, FACTS, (Binding("zorv", subject="cat"),))
    assert bound.base == base
    assert bound.branches == (prompt,)
    check_places(bound)


def test_a_trigger_of_several_words_goes_in_before_the_subject():
    bound = bind("a big (red ball:1.2)", FACTS, (Binding("aaa", subject="red ball", trigger="sks, (ohwx:1.1)"),))
    assert bound.branches == ("a big (sks, (ohwx:1.1) red ball:1.2)",)
    text, (place,) = bound.branches[0], bound.places[1]
    assert [text[start:end] for start, end in place.trigger] == ["sks", "ohwx"]
    assert [text[start:end] for start, end in place.subject] == ["red", "ball"]


def test_an_explicit_trigger_in_the_subject_is_not_doubled():
    bound = bind("a zorv in a hat", FACTS, (Binding("aaa", trigger="zorv"),))
    assert bound.subjects[0].words == "zorv"
    assert bound.branches == ("a zorv in a hat",)


def test_four_loras_each_get_their_branch():
    facts = {
        name: LoraFacts(name, triggers=(f"sks_{name[3:]}",)) for name in ("my_cat", "my_dog", "my_ball", "my_house")
    }
    tags = "".join(f"<lora:{name}:1>" for name in facts)
    prompt = f"a sks_cat cat, a sks_dog dog, a sks_ball ball and a sks_house house{tags}"
    bound = bind(prompt, facts)
    assert bound.base == "a cat, a dog, a ball and a house"
    assert bound.branches[2] == "a cat, a dog, a sks_ball ball and a house"
    for text, places in zip(bound.texts, bound.places, strict=True):
        for subject, place in zip(bound.subjects, places, strict=True):
            assert [text[start:end] for start, end in place.subject] == [subject.words]
