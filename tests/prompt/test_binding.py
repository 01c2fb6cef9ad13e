"""The default binding and the branches' texts: a table of prompts, and what must hold for any prompt."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clora_ext.errors import BindingError, CLoRAError, PromptError
from clora_ext.prompt import Bound, LoraFacts, Request, bind, parse_requests, remove_tags
from tests.prompt.binding_table import CASES, FACTS, Case


def spoken(bound: Bound) -> tuple[tuple[str, str], ...]:
    """The subjects as the table writes them."""
    return tuple(
        (subject.lora, f"{subject.trigger} + {subject.words}" if subject.trigger else subject.words)
        for subject in bound.subjects
    )


def check_places(bound: Bound) -> None:
    """Every span holds the word that it stands for, and triggers stand in their own branch only."""
    assert len(bound.places) == len(bound.texts) == len(bound.subjects) + 1
    for number, (text, places) in enumerate(zip(bound.texts, bound.places, strict=True)):
        assert len(places) == len(bound.subjects)
        for index, (subject, place) in enumerate(zip(bound.subjects, places, strict=True)):
            assert " ".join(text[start:end] for start, end in place.subject) == subject.words
            trigger = subject.trigger if number == index + 1 else None
            assert bool(place.trigger) == bool(trigger)
            assert re.findall(r"\w+", trigger or "") == [text[start:end] for start, end in place.trigger]


def test_the_table_is_long_enough_and_has_no_doubles():
    assert len(CASES) >= 40
    assert len({(case.prompt, case.bindings) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [case for case in CASES if not case.error], ids=lambda case: case.prompt)
def test_table_binds(case: Case):
    bound = bind(case.prompt, FACTS, parse_requests(case.bindings))
    assert spoken(bound) == tuple((lora, words.split(" #")[0]) for lora, words in case.subjects)
    numbers = [int(words.partition(" #")[2] or 1) for _, words in case.subjects]
    assert [subject.occurrence for subject in bound.subjects] == numbers
    on = [None if style.on is None else bound.subjects[style.on].words for style in bound.styles]
    assert tuple(zip([style.lora for style in bound.styles], on, strict=True)) == case.styles
    assert case.base in (None, bound.base)
    assert case.branches in (None, bound.branches)
    check_places(bound)


@pytest.mark.parametrize("case", [case for case in CASES if case.error], ids=lambda case: case.prompt)
def test_table_refuses_with_a_sentence(case: Case):
    with pytest.raises(CLoRAError) as caught:
        bind(case.prompt, FACTS, parse_requests(case.bindings))
    for word in case.error:
        assert word in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.field is not None
    assert caught.value.status_code == 422


def test_weights_come_from_the_tag_and_a_request_overrides_them():
    prompt = "a <lora:aaa:0.5:0.7:8> cat and a <lora:bbb:0.25> dog"
    aaa, bbb = bind(prompt, FACTS).subjects
    assert (aaa.te, aaa.unet, aaa.dyn) == (0.5, 0.7, 8)
    assert (bbb.te, bbb.unet, bbb.dyn) == (0.25, 0.25, None)
    aaa, bbb = bind(prompt, FACTS, (Request("aaa", weight=1.5),)).subjects
    assert (aaa.te, aaa.unet, aaa.dyn) == (1.5, 1.5, 8)
    assert (bbb.te, bbb.unet) == (0.25, 0.25)


def test_a_style_in_a_tag_has_its_weights():
    (style,) = bind("<lora:lineart:0.5:0.25:4:role=style> a cat", FACTS).styles
    assert (style.lora, style.te, style.unet, style.dyn, style.on) == ("lineart", 0.5, 0.25, 4, None)


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
def test_a_style_on_one_subject_has_its_trigger_in_that_branch_alone(prompt: str, styled: str, other: str):
    requests = (Request("tux", subject="cat"), Request("brown", subject="dog"), Request("ink", on="tux"))
    bound = bind(prompt, STYLED, requests)
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
        bind("a cat", STYLED, (Request("ink", role="style", trigger="frizu"),))


def test_without_subjects_there_is_the_base_alone():
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
    bound = bind(prompt, FACTS, (Request("zorv", subject="cat"),))
    assert bound.base == base
    assert bound.branches == (prompt,)
    check_places(bound)


def test_a_trigger_of_several_words_goes_in_before_the_subject():
    bound = bind("a big (red ball:1.2)", FACTS, (Request("aaa", subject="red ball", trigger="sks, (ohwx:1.1)"),))
    assert bound.branches == ("a big (sks, (ohwx:1.1) red ball:1.2)",)
    text, (place,) = bound.branches[0], bound.places[1]
    assert [text[start:end] for start, end in place.trigger] == ["sks", "ohwx"]
    assert [text[start:end] for start, end in place.subject] == ["red", "ball"]


def test_an_explicit_trigger_in_the_subject_is_not_doubled():
    bound = bind("a zorv in a hat", FACTS, (Request("aaa", trigger="zorv"),))
    assert bound.subjects[0].words == "zorv"
    assert bound.branches == ("a zorv in a hat",)


def test_a_trigger_may_not_hold_another_subject():
    requests = (Request("aaa", subject="cat", trigger="black fluffy"), Request("bbb", subject="black"))
    with pytest.raises(BindingError, match=r"“black” is in the trigger of LoRA “aaa”.*“bbb”"):
        bind("a black fluffy cat", FACTS, requests)


def test_a_trigger_beside_the_subject_chooses_between_its_places():
    bound = bind("a cat and a sks cat", FACTS, (Request("cat_sks", subject="cat"),))
    assert (bound.subjects[0].occurrence, bound.base) == (2, "a cat and a cat")


def test_a_word_in_a_schedule_can_not_be_chosen_by_number():
    with pytest.raises(BindingError, match="schedule"):
        bind("a cat, [cat:dog:0.5] <lora:tuxcat:1:occurrence=2>", FACTS)
    with pytest.raises(BindingError, match="schedule"):
        bind("a cat, [cat|dog] <lora:tuxcat:1:bind=cat:occurrence=2>", FACTS)
    assert bind("a cat, [cat|dog] <lora:tuxcat:1>", FACTS).subjects[0].occurrence == 1


def test_errors_of_a_request_name_its_field():
    for request, field in (
        (Request("aaa", subject="bird"), "bindings[0].subject"),
        (Request("aaa", subject="cat", occurrence=3), "bindings[0].occurrence"),
        (Request("aaa", subject="cat", role="subject", on="cat"), "bindings[0].on"),
        (Request("aaa", on="dog"), "bindings[0].on"),
        (Request("nobody"), "bindings[0].lora"),
    ):
        with pytest.raises(BindingError) as caught:
            bind("a cat", FACTS, (request,))
        assert caught.value.field == field


def test_capital_and_is_refused_but_not_inside_words():
    with pytest.raises(PromptError, match="AND is not supported"):
        bind("a cat AND a dog", FACTS)
    assert bind("a GRAND BAND", FACTS).base == "a GRAND BAND"


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


steady = settings(deadline=None, derandomize=True)

NOUNS = ("cat", "dog", "bunny", "flower", "ball", "house")
NOISE = st.lists(
    st.sampled_from(
        (
            "a",
            " ",
            ",",
            ", ",
            " and ",
            "(",
            ")",
            "[",
            "]",
            ":1.2)",
            ":0.5]",
            "|",
            " BREAK ",
            "\n",
            "_",
            "\\(",
            "'s",
            "zorv",
            "qix ",
            " fluffy ",
            "in the grass",
            "<lora:aaa:1>",
            "<hypernet:x:1>",
            "sitting",
            "1girl",
            "-",
            ".",
        )
    ),
    max_size=5,
).map("".join)
CORES = st.sampled_from(
    (
        "<lora:zorv:0.5>(zorv) cat",
        "a zorv cat and a qix dog<lora:zorv:1><lora:qd:1>",
        "((zorv)), cat, <lora:zorv:1:bind=cat> qix, <lora:qd:1:bind=dog> dog",
        "hatsune miku, sks_cat<lora:miku:1><lora:cat_sks:1>",
        "a <lora:aaa:1> ball <lora:bbb:1:bind=dog:trigger=sks> dog",
        "vela, 1girl, silver hair, cat <lora:vela:1> <lora:tuxcat:1>",
    )
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(NOISE, CORES, NOISE)
def test_any_prompt_is_bound_soundly_or_refused(before, core, after):
    prompt = before + core + after
    try:
        bound = bind(prompt, FACTS)
    except CLoRAError:
        return
    check_places(bound)
    plain = remove_tags(prompt)
    for own, text in enumerate(bound.texts, -1):
        triggers = [Counter(words_of(subject.trigger or "")) for subject in bound.subjects]
        mine = triggers[own] if own >= 0 else Counter()
        others = sum((words for index, words in enumerate(triggers) if index != own), Counter())
        before_words, after_words = Counter(words_of(plain)), Counter(words_of(text))
        assert after_words - before_words <= mine
        gone = before_words - after_words
        assert gone <= others
        if not mine & others:
            assert gone == others & before_words
        if not gone and after_words == before_words:
            assert text == plain
        assert depth(text) == depth(plain)


@steady
@given(st.permutations(NOUNS), st.integers(2, 6), st.booleans(), st.booleans(), st.data())
def test_binding_does_not_depend_on_where_tags_stand(nouns, count, in_place, emphasis, data):
    nouns = nouns[:count]
    facts = {f"my_{noun}": LoraFacts(f"my_{noun}", triggers=(f"{noun[::-1]}x",)) for noun in NOUNS}
    scene = [f"a ({noun[::-1]}x {noun}:1.2)" if emphasis else f"a {noun[::-1]}x {noun}" for noun in nouns]
    tags = [f"<lora:my_{noun}:1>" for noun in nouns]
    if in_place:
        prompt = " and ".join(f"{tag}{words}" for tag, words in zip(tags, scene, strict=True))
    else:
        prompt = " and ".join(scene) + "".join(data.draw(st.permutations(tags)))
    bound = bind(prompt, facts)
    assert {subject.lora: subject.words for subject in bound.subjects} == {f"my_{noun}": noun for noun in nouns}
    assert bound.base == " and ".join(f"a ({noun}:1.2)" if emphasis else f"a {noun}" for noun in nouns)
    check_places(bound)


@steady
@given(st.integers(1, 5), st.data())
def test_repeated_words_are_told_apart_by_number(count, data):
    prompt = " and ".join(["a cat"] * count)
    chosen = data.draw(st.integers(1, count))
    bound = bind(prompt, FACTS, (Request("aaa", subject="cat", occurrence=chosen, trigger="sks"),))
    parts = ["a cat"] * count
    parts[chosen - 1] = "a sks cat"
    assert bound.branches == (" and ".join(parts),)
    assert bound.places[0][0].subject == (
        (8 * chosen - 8 + 2 + (chosen - 1) * 2, 8 * chosen - 8 + 5 + (chosen - 1) * 2),
    )


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", re.sub(r":\s*[\d.]+\s*(?=[)\]])", "", text))


def depth(text: str) -> tuple[int, int]:
    """How many round and square brackets are left open; escaped ones are letters."""
    plain = re.sub(r"\\.", "", text)
    return plain.count("(") - plain.count(")"), plain.count("[") - plain.count("]")
