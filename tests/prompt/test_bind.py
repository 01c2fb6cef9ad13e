"""The default binding: a table of prompts, and who is refused with which words."""

import pytest

from clora_ext.errors import BindingError, CLoRAError, PromptError
from clora_ext.prompt import Binding, BoundPrompt, bind, parse_bindings
from tests.prompt.binding_table import CASES, FACTS, Case
from tests.prompt.checks import check_places


def spoken(bound: BoundPrompt) -> tuple[tuple[str, str], ...]:
    """The subjects as the table writes them."""
    return tuple(
        (subject.lora, f"{subject.trigger} + {subject.words}" if subject.trigger else subject.words)
        for subject in bound.subjects
    )


def test_the_table_is_long_enough_and_has_no_doubles():
    assert len(CASES) >= 40
    assert len({(case.prompt, case.bindings) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [case for case in CASES if not case.error], ids=lambda case: case.prompt)
def test_table_binds(case: Case):
    bound = bind(case.prompt, FACTS, parse_bindings(case.bindings))
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
        bind(case.prompt, FACTS, parse_bindings(case.bindings))
    for word in case.error:
        assert word in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.field is not None
    assert caught.value.status_code == 422


def test_weights_come_from_the_tag_and_a_binding_overrides_them():
    prompt = "a <lora:aaa:0.5:0.7:8> cat and a <lora:bbb:0.25> dog"
    aaa, bbb = bind(prompt, FACTS).subjects
    assert (aaa.te, aaa.unet, aaa.dyn) == (0.5, 0.7, 8)
    assert (bbb.te, bbb.unet, bbb.dyn) == (0.25, 0.25, None)
    aaa, bbb = bind(prompt, FACTS, (Binding("aaa", weight=1.5),)).subjects
    assert (aaa.te, aaa.unet, aaa.dyn) == (1.5, 1.5, 8)
    assert (bbb.te, bbb.unet) == (0.25, 0.25)


def test_a_style_in_a_tag_has_its_weights():
    (style,) = bind("<lora:lineart:0.5:0.25:4:role=style> a cat", FACTS).styles
    assert (style.lora, style.te, style.unet, style.dyn, style.on) == ("lineart", 0.5, 0.25, 4, None)


def test_a_trigger_may_not_hold_another_subject():
    bindings = (Binding("aaa", subject="cat", trigger="black fluffy"), Binding("bbb", subject="black"))
    with pytest.raises(BindingError, match=r"“black” is in the trigger of LoRA “aaa”.*“bbb”"):
        bind("a black fluffy cat", FACTS, bindings)


def test_a_trigger_beside_the_subject_chooses_between_its_places():
    bound = bind("a cat and a sks cat", FACTS, (Binding("cat_sks", subject="cat"),))
    assert (bound.subjects[0].occurrence, bound.base) == (2, "a cat and a cat")


def test_a_word_in_a_schedule_can_not_be_chosen_by_number():
    with pytest.raises(BindingError, match="schedule"):
        bind("a cat, [cat:dog:0.5] <lora:tuxcat:1:occurrence=2>", FACTS)
    with pytest.raises(BindingError, match="schedule"):
        bind("a cat, [cat|dog] <lora:tuxcat:1:bind=cat:occurrence=2>", FACTS)
    assert bind("a cat, [cat|dog] <lora:tuxcat:1>", FACTS).subjects[0].occurrence == 1


def test_errors_of_a_binding_name_its_field():
    for binding, field in (
        (Binding("aaa", subject="bird"), "bindings[0].subject"),
        (Binding("aaa", subject="cat", occurrence=3), "bindings[0].occurrence"),
        (Binding("aaa", subject="cat", role="subject", on="cat"), "bindings[0].on"),
        (Binding("aaa", on="dog"), "bindings[0].on"),
        (Binding("nobody"), "bindings[0].lora"),
    ):
        with pytest.raises(BindingError) as caught:
            bind("a cat", FACTS, (binding,))
        assert caught.value.field == field


def test_capital_and_is_refused_but_not_inside_words():
    with pytest.raises(PromptError, match="AND is not supported"):
        bind("a cat AND a dog", FACTS)
    assert bind("a GRAND BAND", FACTS).base == "a GRAND BAND"
