"""From a bound prompt to the texts and LoRAs of every branch."""

from collections.abc import Sequence

import pytest

from clora_ext.engine.branches import ActiveLora, branches_of, composes, token_plan
from clora_ext.prompt import Binding, LoraFacts, bind, remove_tags
from clora_ext.settings.profiles import build_settings

PROMPT = (
    "a zorv cat <lora:A:0.8:0.6> and a dog <lora:B:1:bind=dog:trigger=sks> <lora:S:0.5:role=style>, <lora:T:1:on=dog>"
)
FACTS = {name: LoraFacts(name, triggers=("zorv cat",) if name == "A" else ()) for name in "ABST"}
A, B, S, T = ActiveLora("A", 0.8, 0.6), ActiveLora("B", 1.0, 1.0), ActiveLora("S", 0.5, 0.5), ActiveLora("T", 1.0, 1.0)


def _bound(prompt: str = PROMPT, bindings: Sequence[Binding] = ()):
    return bind(prompt, FACTS, bindings)


def test_branches_have_their_lora_and_the_styles_on_their_subject():
    found = branches_of(_bound(), remove_tags(PROMPT), build_settings("authors"))
    assert found.unet_loras == {0: (), 1: (A,), 2: (B, T)}
    assert found.text_loras == found.unet_loras
    assert found.everywhere == (S,)
    assert "zorv" not in found.texts[0]
    assert "zorv cat" in found.texts[1]
    assert "sks dog" in found.texts[2]


def test_styles_everywhere_are_in_every_branch_where_guidance_counts_loras_more_than_once():
    found = branches_of(_bound(), "", build_settings(beside_style=1.0))
    assert found.unet_loras == {0: (S,), 1: (S, A), 2: (S, B, T)}
    assert found.everywhere == ()


def test_a_subject_beside_a_style_has_less_of_its_lora():
    prompt = "a zorv cat <lora:A:0.8:0.6> and a dog <lora:B:1:bind=dog:trigger=sks> <lora:T:1:on=dog>"
    found = branches_of(_bound(prompt), "", build_settings(beside_style=0.5))
    assert found.unet_loras == {0: (), 1: (A,), 2: (ActiveLora("B", 1.0, 0.5), T)}
    assert found.text_loras[2][0].te == 1.0  # its words are its own


def test_text_encoders_can_be_left_alone():
    assert branches_of(_bound(), "", build_settings(text_encoder=False)).text_loras == {0: (), 1: (), 2: ()}


@pytest.mark.parametrize(("method", "encoded"), [("composite", (A, B, T)), ("switch", (A,))])
def test_composite_and_switch_encode_the_whole_prompt_once(method: str, encoded: tuple):
    found = branches_of(_bound(), "whole", build_settings(method=method))
    assert set(found.texts.values()) == {"whole"}
    assert set(found.text_loras.values()) == {encoded}
    assert found.unet_loras[2] == (B, T)


def test_merge_puts_everything_on_one_row():
    found = branches_of(_bound(), "whole", build_settings(method="merge"))
    assert (found.texts, found.unet_loras) == ({0: "whole"}, {0: (A, B, T)})


def test_subjects_that_share_a_tag_have_one_lora_in_every_branch_of_their_own_and_once_in_all():
    shared = _bound("a cat and a dog <lora:B:0.5:bind=cat>", [Binding("B", subject="cat"), Binding("B", subject="dog")])
    b = ActiveLora("B", 0.5, 0.5)
    found = branches_of(shared, "whole", build_settings())
    assert found.unet_loras == {0: (), 1: (b,), 2: (b,)}
    assert found.all_unet_loras == (b,)
    for method in ("merge", "composite"):
        assert set(branches_of(shared, "whole", build_settings(method=method)).text_loras.values()) == {(b,)}
    two = _bound("a cat and a dog <lora:B:0.5:bind=cat> <lora:B:0.5:bind=dog>")
    assert branches_of(two, "whole", build_settings(method="merge")).unet_loras == {0: (b, b)}


def test_what_changes_the_unet_alike_has_one_key():
    assert ActiveLora("x", 1, 0.5).key == ActiveLora("x", 0, 0.5).key == "x@0.5"
    assert len({ActiveLora("x", 1, weight, dyn).key for weight, dyn in ((0.5, None), (0.5, 4), (0.5, 8), (1, 8))}) == 4


def test_a_single_lora_is_drawn_with_its_explicit_trigger():
    prompt = "a cat <lora:B:1:bind=cat:trigger=sks>"
    found = branches_of(_bound(prompt), remove_tags(prompt), build_settings(method="merge"))
    assert found.texts[0].strip() == "a sks cat"


@pytest.mark.parametrize(
    ("prompt", "wanted", "expected"),
    [
        (PROMPT, build_settings(), True),
        (PROMPT, build_settings(method="merge"), False),
        ("a cat <lora:A:1:bind=cat>", build_settings(), False),
        ("a cat <lora:A:1:bind=cat>", build_settings("authors"), True),
        ("a cat <lora:A:1:bind=cat> <lora:T:1:on=cat>", build_settings(), True),
        ("a cat <lora:A:1:bind=cat> <lora:T:1:on=cat>", build_settings(method="switch"), False),
        ("a cat <lora:S:1:role=style>", build_settings("authors"), False),
        ("a cat", build_settings(), False),
    ],
)
def test_what_composes(prompt: str, wanted, expected: bool):
    assert composes(_bound(prompt), wanted) == expected


def test_the_plan_asks_for_every_place():
    bound, asked = _bound(), []

    def locate(branch, spans):
        asked.append((branch, tuple(bound.texts[branch][start:stop] for start, stop in spans)))
        return (len(asked),)

    made = token_plan(bound, locate)
    assert made.branches == 3
    assert [concept.name for concept in made.concepts] == ["cat", "dog"]
    assert (1, ("zorv",)) in asked
    assert (2, ("sks",)) in asked
    assert sum(words == ("cat",) for _, words in asked) == 3
