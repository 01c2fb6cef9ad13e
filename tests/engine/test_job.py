"""From a bound prompt to the texts and LoRAs of every branch."""

import pytest

from clora_ext.engine.job import Wear, composes, job, plan
from clora_ext.prompt import LoraFacts, bind, remove_tags
from clora_ext.settings import settings

PROMPT = (
    "a zorv cat <lora:A:0.8:0.6> and a dog <lora:B:1:bind=dog:trigger=sks> <lora:S:0.5:role=style>, <lora:T:1:on=dog>"
)
FACTS = {name: LoraFacts(name, triggers=("zorv cat",) if name == "A" else ()) for name in "ABST"}
A, B, S, T = Wear("A", 0.8, 0.6), Wear("B", 1.0, 1.0), Wear("S", 0.5, 0.5), Wear("T", 1.0, 1.0)


def _bound(prompt: str = PROMPT):
    return bind(prompt, FACTS)


def test_branches_wear_their_lora_and_the_styles_on_their_subject():
    work = job(_bound(), remove_tags(PROMPT), settings("authors"))
    assert work.worn == {0: (), 1: (A,), 2: (B, T)}
    assert work.encoded == work.worn
    assert work.everywhere == (S,)
    assert "zorv" not in work.texts[0]
    assert "zorv cat" in work.texts[1]
    assert "sks dog" in work.texts[2]


def test_styles_everywhere_are_in_every_branch_where_guidance_counts_loras_more_than_once():
    work = job(_bound(), "", settings(beside_style=1.0))
    assert work.worn == {0: (S,), 1: (S, A), 2: (S, B, T)}
    assert work.everywhere == ()


def test_a_subject_beside_a_style_wears_less_of_its_lora():
    prompt = "a zorv cat <lora:A:0.8:0.6> and a dog <lora:B:1:bind=dog:trigger=sks> <lora:T:1:on=dog>"
    work = job(_bound(prompt), "", settings(beside_style=0.5))
    assert work.worn == {0: (), 1: (A,), 2: (Wear("B", 1.0, 0.5), T)}
    assert work.encoded[2][0].te == 1.0  # its words are its own


def test_text_encoders_can_be_left_alone():
    assert job(_bound(), "", settings(text_encoder=False)).encoded == {0: (), 1: (), 2: ()}


@pytest.mark.parametrize(("method", "encoded"), [("composite", (A, B, T)), ("switch", (A,))])
def test_composite_and_switch_encode_the_whole_prompt_once(method: str, encoded: tuple):
    work = job(_bound(), "whole", settings(method=method))
    assert set(work.texts.values()) == {"whole"}
    assert set(work.encoded.values()) == {encoded}
    assert work.worn[2] == (B, T)


def test_merge_puts_everything_on_one_row():
    work = job(_bound(), "whole", settings(method="merge"))
    assert (work.texts, work.worn) == ({0: "whole"}, {0: (A, B, T)})


def test_one_lora_alone_is_drawn_with_its_explicit_trigger():
    prompt = "a cat <lora:B:1:bind=cat:trigger=sks>"
    work = job(_bound(prompt), remove_tags(prompt), settings(method="merge"))
    assert work.texts[0].strip() == "a sks cat"


@pytest.mark.parametrize(
    ("prompt", "wanted", "expected"),
    [
        (PROMPT, settings(), True),
        (PROMPT, settings(method="merge"), False),
        ("a cat <lora:A:1:bind=cat>", settings(), False),
        ("a cat <lora:A:1:bind=cat>", settings("authors"), True),
        ("a cat <lora:A:1:bind=cat> <lora:T:1:on=cat>", settings(), True),
        ("a cat <lora:A:1:bind=cat> <lora:T:1:on=cat>", settings(method="switch"), False),
        ("a cat <lora:S:1:role=style>", settings("authors"), False),
        ("a cat", settings(), False),
    ],
)
def test_what_composes(prompt: str, wanted, expected: bool):
    assert composes(_bound(prompt), wanted) == expected


def test_the_plan_asks_for_every_place():
    bound, asked = _bound(), []

    def locate(branch, spans):
        asked.append((branch, tuple(bound.texts[branch][start:stop] for start, stop in spans)))
        return (len(asked),)

    made = plan(bound, locate)
    assert made.branches == 3
    assert [concept.name for concept in made.concepts] == ["cat", "dog"]
    assert (1, ("zorv",)) in asked
    assert (2, ("sks",)) in asked
    assert sum(words == ("cat",) for _, words in asked) == 3
    assert Wear("x", 1, 0.5).key == "x@0.5"
