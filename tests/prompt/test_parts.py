"""Several subjects of one LoRA: by bindings, and by the triggers of the LoRAs that a merged file was made of."""

import pytest

from clora_ext.errors import BindingError
from clora_ext.prompt import BoundPrompt, LoraFacts, bind_or_merge, inspect, parse_bindings
from clora_ext.settings.infotext import named_masks, to_infotext
from clora_ext.settings.request import read_request

PARTS = ("vako cat", "pleko dog", "miru", "hatsune miku", "zk robe", "ink style")
FACTS = {
    facts.name: facts
    for facts in (
        LoraFacts("six", triggers=PARTS, words=PARTS, parts=PARTS),
        LoraFacts("plain", triggers=(", ".join(PARTS),), words=PARTS),
        LoraFacts("tuxcat", triggers=("vako cat",)),
        LoraFacts("browndog"),
    )
}
BOTH = "a vako cat and a pleko dog in the grass <lora:six:1>"
MASK = "aGFsbG8="
CAT, DOG = ("six", "vako", "cat"), ("six", "pleko", "dog")


def told(bound: BoundPrompt) -> list[tuple[str, str | None, str]]:
    return [(subject.lora, subject.trigger, subject.words) for subject in bound.subjects]


def bound_by(prompt: str, lines: str = "") -> BoundPrompt:
    return bind_or_merge(prompt, FACTS, parse_bindings(lines))


@pytest.mark.parametrize(
    "lines",
    ["", "six: vako cat\nsix: pleko dog", "six: cat\nsix: dog", "six: pleko dog", "six: dog\nsix: VAKO cat"],
)
def test_the_triggers_in_the_prompt_are_subjects_of_their_own(lines: str):
    bound = bound_by(BOTH, lines)
    assert told(bound) == [CAT, DOG]
    assert bound.texts == (
        "a cat and a dog in the grass ",
        "a vako cat and a dog in the grass ",
        "a cat and a pleko dog in the grass ",
    )


@pytest.mark.parametrize(
    ("prompt", "subjects"),
    [
        ("a vako cat in the grass <lora:six:1>", [CAT]),
        ("a cat and a dog <lora:six:1>", []),
        ("hatsune miku and a pleko dog <lora:six:1>", [("six", None, "hatsune miku"), DOG]),
        ("a miru rabbit, a pleko dog and a vako cat <lora:six:1>", [("six", "miru", "rabbit"), DOG, CAT]),
        ("a vako cat with a zk robe, ink style <lora:six:1>", [CAT]),
    ],
)
def test_only_triggers_of_subjects_that_are_there_count(prompt: str, subjects: list[tuple[str, str | None, str]]):
    assert told(bound_by(prompt)) == subjects


def test_a_file_that_nobody_merged_is_bound_as_ever():
    assert told(bound_by("a vako cat and a pleko dog <lora:plain:1>")) == [("plain", "vako", "cat")]
    assert told(bound_by("a vako cat and a dog <lora:tuxcat:1>", "tuxcat: vako cat")) == [("tuxcat", None, "vako cat")]


def test_words_that_are_said_of_another_lora_are_left_to_it():
    assert told(bound_by(f"{BOTH} <lora:browndog:1:bind=dog>")) == [CAT, ("browndog", None, "dog")]
    with pytest.raises(BindingError, match="“six” and “tuxcat” want to draw the same “cat”"):
        bound_by(f"{BOTH} <lora:tuxcat:1>")


def test_a_said_subject_has_no_trigger_of_another_one():
    assert told(bound_by("a vako cat and a dog <lora:six:1>", "six: dog")) == [CAT, ("six", None, "dog")]


def test_a_part_of_which_somebody_speaks_is_not_found_once_more():
    lines = "six: grass, trigger=pleko dog"
    assert told(bound_by(BOTH, lines)) == [CAT, ("six", "pleko dog", "grass")]
    assert [subject.lora for subject in bound_by(BOTH, "six: style").subjects] == []


def test_weights_are_the_tags_or_each_bindings_own():
    assert [each.unet for each in bound_by(BOTH.replace(":1>", ":0.7>")).subjects] == [0.7, 0.7]
    assert [each.unet for each in bound_by(BOTH, "six: weight=0.4").subjects] == [0.4, 0.4]
    assert [each.unet for each in bound_by(BOTH, "six: dog, weight=0.4").subjects] == [1.0, 0.4]


@pytest.mark.parametrize(
    ("prompt", "lines", "leads"),
    [
        (BOTH, "", [True, False]),
        (BOTH, "six: dog, weight=1.5", [False, True]),
        ("a cat and a dog <lora:six:1:bind=cat> <lora:six:0.5:bind=dog>", "", [True, True]),
        ("a cat and a dog", "six: cat\nsix: dog", [True, False]),
    ],
)
def test_of_subjects_that_share_a_tag_one_leads(prompt: str, lines: str, leads: list[bool]):
    assert [subject.leads for subject in bound_by(prompt, lines).subjects] == leads


@pytest.mark.parametrize(
    ("lines", "words", "field"),
    [
        ("six: cat\nsix: cat", "“six” is bound twice", "bindings[1].lora"),
        ("six: cat\nsix: vako cat", "Two subjects of “six” have the same “cat”", "bindings[1].subject"),
        ("browndog: dog\nbrowndog: dog #1", "Two subjects of “browndog” have the same “dog”", "bindings[1].subject"),
        (f'six: mask="{MASK}"', "draws several subjects here, “vako cat”, “pleko dog”; say", "bindings[0].subject"),
    ],
)
def test_what_can_not_be_is_told_in_the_field_that_says_it(lines: str, words: str, field: str):
    with pytest.raises(BindingError, match=words) as caught:
        bound_by(BOTH, lines)
    assert caught.value.field == field


def test_a_mask_without_words_is_that_of_the_only_subject():
    (cat,) = bound_by("a vako cat <lora:six:1>", f'six: mask="{MASK}"').subjects
    assert (cat.words, cat.mask) == ("cat", MASK)


@pytest.mark.parametrize("lines", ["", "six: vako cat\nsix: pleko dog", "six: weight=0.5", "six: dog"])
def test_each_subject_has_a_key_by_which_its_mask_is_kept(lines: str):
    keys = [subject.key for subject in bound_by(BOTH, lines).subjects]
    assert [row.key for row in inspect(BOTH, FACTS, parse_bindings(lines)).rows] == keys
    for at, key in enumerate(keys):
        asked = read_request({"bindings": lines, "masks": {key: {"mask": MASK}}})
        subjects = bind_or_merge(BOTH, FACTS, asked.bindings).subjects
        assert [subject.mask for subject in subjects] == [MASK if at == place else None for place in (0, 1)]
        assert [subject.unet for subject in subjects] == [0.5 if "0.5" in lines else 1.0] * 2
        assert {word for word, _, _ in named_masks(to_infotext(asked))} <= {key, "six"}


def test_masks_of_two_tags_go_with_the_tag_that_says_their_words():
    prompt = "a cat and a cat <lora:browndog:1:bind=cat:occurrence=1> <lora:browndog:0.5:bind=cat:occurrence=2>"
    first, second = bound_by(prompt).subjects
    assert (first.key, second.key) == ("browndog: cat #1", "browndog: cat #2")
    asked = read_request({"masks": {second.key: {"mask": MASK}}})
    found = bind_or_merge(prompt, FACTS, asked.bindings).subjects
    assert [(each.occurrence, each.unet, each.mask) for each in found] == [(1, 1.0, None), (2, 0.5, MASK)]


@pytest.mark.parametrize("key", ["six: #", "six: cat\nsix: dog", ": cat"])
def test_a_key_that_can_not_be_read_is_told(key: str):
    with pytest.raises(BindingError) as caught:
        read_request({"masks": {key: {"mask": MASK}}})
    assert caught.value.field == "masks"


def test_a_subject_is_found_in_another_prompt_by_its_words_where_the_lora_has_several():
    cat, dog = bound_by("a cat and a dog", "browndog: cat\nbrowndog: dog").subjects
    other = bound_by("a photo of a Dog, a cat", "browndog: dog\nbrowndog: cat")
    assert (other.place_of(cat), other.place_of(dog)) == (1, 0)
    assert bound_by("a bird", "browndog: bird").place_of(dog) == 0
    assert bound_by("a bird and a fish", "browndog: bird\nbrowndog: fish").place_of(dog) is None
    assert bound_by(BOTH).place_of(dog) is None


def test_a_style_on_one_of_several_subjects_is_told_by_its_words():
    known = FACTS | {"robe": LoraFacts("robe", triggers=("xx robe",), labels=("clothing",))}
    for prompt in (
        f"{BOTH} <lora:tuxcat:1:on=dog>",
        "a vako cat and a pleko dog wearing a xx robe <lora:six:1> <lora:robe:1>",
    ):
        seen = inspect(prompt, known)
        assert seen.bound is not None
        assert [style.on for style in seen.bound.styles] == [1]
        assert (seen.rows[-1].role, seen.rows[-1].on) == ("style_on", "dog")
    with pytest.raises(BindingError, match="“six”, which names more than one subject; name one by its words"):
        bound_by(f"{BOTH} <lora:tuxcat:1:on=six>")


def test_every_subject_has_a_row_and_a_question_is_about_one_of_them():
    rows = inspect(BOTH, FACTS).rows
    assert [(row.lora, row.subject, row.trigger) for row in rows] == [("six", "cat", "vako"), ("six", "dog", "pleko")]
    cat, dog = inspect("a vako cat, a pleko dog and a pleko dog <lora:six:1>", FACTS).rows
    assert (cat.subject, cat.asks) == ("cat", False)
    assert (dog.subject, dog.asks, dog.choices) == (None, True, ((5,), (9,)))


def test_rows_that_can_not_be_bound_together_have_each_its_own_words():
    rows = inspect("a cat, a dog and a bird", FACTS, parse_bindings("browndog: cat\nbrowndog: dog\nsix: fish")).rows
    assert [(row.lora, row.subject) for row in rows] == [("browndog", "cat"), ("browndog", "dog"), ("six", "fish")]
