"""Changes of a binding, written back into the tag or into a binding of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.errors import BindingError
from clora_ext.prompt import Binding, edit_binding, find_tags, remove_tags
from tests.prompt.checks import steady

PROMPT = "a cat <lora:tuxcat:1.2> and a dog <lora:browndog:1:0.5:8:te=0.3:lbw=A> and a cat"


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
    prompt, bindings = edit_binding(PROMPT, (), [lora], changes)
    assert tag in prompt
    assert bindings == ()
    assert remove_tags(prompt) == remove_tags(PROMPT)


def test_what_was_written_is_taken_back():
    bound, _ = edit_binding(PROMPT, (), ["tuxcat"], {"subject": "cat", "trigger": "vako"})
    assert edit_binding(bound, (), ["tuxcat"], {"subject": None, "trigger": None})[0] == PROMPT


def test_a_line_of_its_own_is_kept_and_changed():
    line = Binding("tuxcat", weight=0.7)
    prompt, bindings = edit_binding(PROMPT, (line,), ["tuxcat"], {"subject": "cat"})
    assert (prompt, bindings) == (PROMPT, (Binding("tuxcat", weight=0.7, subject="cat"),))
    assert edit_binding(PROMPT, bindings, ["tuxcat"], {"subject": None, "weight": None}) == (PROMPT, ())


def test_what_a_tag_can_not_hold_becomes_a_line():
    prompt, bindings = edit_binding(PROMPT, (), ["tuxcat"], {"trigger": "vako: the (cat:1.1)"})
    assert (prompt, bindings) == (PROMPT, (Binding("tuxcat", trigger="vako: the (cat:1.1)"),))


def test_a_value_that_can_not_be_is_refused():
    with pytest.raises(BindingError, match="role"):
        edit_binding(PROMPT, (), ["tuxcat"], {"role": "hero"})


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
        prompt, bindings = edit_binding(PROMPT, (), [lora], changes)
    except BindingError:
        return
    assert remove_tags(prompt) == remove_tags(PROMPT)
    (tag,) = (tag for tag in find_tags(prompt) if tag.name == lora)
    if bindings:
        assert {name: getattr(bindings[0], name) for name in changes} == changes
        return
    named = {"subject": tag.arguments.get("bind"), "trigger": tag.arguments.get("trigger"), "weight": tag.unet}
    named["occurrence"] = int(tag.arguments["occurrence"]) if "occurrence" in tag.arguments else None
    assert {name: named[name] for name in changes} == pytest.approx(changes)


def test_each_subject_of_a_file_is_edited_in_its_own_tag_or_line():
    prompt = "a cat and a dog <lora:pets:1:bind=cat> <lora:pets:0.5:bind=cat> <lora:pets:1:bind=dog>"
    changed, _ = edit_binding(prompt, (), ["pets"], {"weight": 0.8}, number=1)
    assert changed == prompt.replace("<lora:pets:1:bind=dog>", "<lora:pets:0.8:bind=dog>")
    lines = (Binding("pets", subject="cat"), Binding("pets", subject="dog"))
    _, changed = edit_binding("a cat and a dog", lines, ["pets"], {"subject": "cat", "occurrence": 2}, number=1)
    assert changed == (lines[0], Binding("pets", subject="cat", occurrence=2))
