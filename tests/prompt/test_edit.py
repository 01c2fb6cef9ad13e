"""Changes of a binding: weights are written back into the tag, all else into a binding of its own."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.errors import BindingError
from clora_ext.prompt import Binding, edit_binding, find_tags, part_bindings, remove_tags
from clora_ext.prompt.grammar.edits import apply_edits
from tests.prompt.checks import steady

PROMPT = "a cat <lora:tuxcat:1.2> and a dog <lora:browndog:1:0.5:8:te=0.3:lbw=A> and a cat"
TWO = "a cat and a dog <lora:pets:1:bind=cat> <lora:pets:0.5:bind=cat> <lora:pets:1:bind=dog>"


def edited(
    prompt: str, bindings: Sequence[Binding], lora: str, changes: dict[str, Any], number: int = 0
) -> tuple[str, tuple[Binding, ...]]:
    """The prompt and the bindings after a change."""
    edit, left = edit_binding(prompt, bindings, [lora], changes, number)
    return apply_edits(prompt, [] if edit is None else [edit]), left


@pytest.mark.parametrize(
    ("tag", "changed"),
    [
        ("<lora:tuxcat>", "<lora:tuxcat:0.9>"),
        ("<lora:tuxcat:1.2>", "<lora:tuxcat:0.9>"),
        ("<lora:tuxcat:0.8:0.5>", "<lora:tuxcat:0.8:0.9>"),
        ("<lora:tuxcat:0.8:0.8>", "<lora:tuxcat:0.9:0.9>"),
        ("<lora:tuxcat:1:0.5:8:te=0.3:lbw=A>", "<lora:tuxcat:1:0.9:8:te=0.3:lbw=A>"),
        ("<lora:tuxcat:0.8:unet=0.5>", "<lora:tuxcat:0.8:unet=0.9>"),
        ("<lora:tuxcat:unet=0.5:te=0.5>", "<lora:tuxcat:unet=0.9:te=0.9>"),
        ("<lora:tuxcat:0.8:te=0.3>", "<lora:tuxcat:0.8:te=0.9>"),
        ("<lora:tuxcat:1:bind=cat>", "<lora:tuxcat:0.9:bind=cat>"),
    ],
)
def test_a_weight_is_written_in_the_tag_and_the_text_encoders_own_stays(tag: str, changed: str):
    assert edited(f"a cat {tag}", (), "tuxcat", {"weight": 0.9}) == (f"a cat {changed}", ())
    (read,) = find_tags(changed)
    assert read.unet == 0.9


def test_what_a_lora_draws_is_said_beside_the_prompt():
    prompt, bindings = edited(PROMPT, (), "tuxcat", {"subject": "cat", "occurrence": 2})
    assert (prompt, bindings) == (PROMPT, (Binding("tuxcat", subject="cat", occurrence=2),))
    assert edited(PROMPT, bindings, "tuxcat", {"subject": None, "occurrence": None}) == (PROMPT, ())


def test_a_binding_takes_over_what_the_tag_says():
    """Tags of a name and a weight are what WebUI's cards take out again."""
    prompt = "a cat <lora:tuxcat:bind=cat:trigger=vako:1:lbw=A> and a dog"
    plain = "a cat <lora:tuxcat:1:lbw=A> and a dog"
    said = Binding("tuxcat", subject="cat", trigger="vako")
    assert edited(prompt, (), "tuxcat", {}) == (plain, (said,))
    assert edited(prompt, (), "tuxcat", {"subject": "dog"}) == (
        plain,
        (Binding("tuxcat", subject="dog", trigger="vako"),),
    )
    assert edited(prompt, (), "tuxcat", {"subject": None, "trigger": None}) == (plain, ())


def test_a_line_of_its_own_is_kept_and_changed():
    line = Binding("tuxcat", weight=0.7)
    prompt, bindings = edited(PROMPT, (line,), "tuxcat", {"subject": "cat", "weight": 0.8})
    assert (prompt, bindings) == (PROMPT, (Binding("tuxcat", weight=0.8, subject="cat"),))
    assert edited(PROMPT, bindings, "tuxcat", {"subject": None, "weight": None}) == (PROMPT, ())


@pytest.mark.parametrize("changes", [{"role": "hero"}, {"weight": ""}, {"weight": float("nan")}])
def test_a_value_that_can_not_be_is_refused(changes: dict):
    with pytest.raises(BindingError, match=next(iter(changes))):
        edited(PROMPT, (), "tuxcat", changes)


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
        prompt, bindings = edited(PROMPT, (), lora, changes)
    except BindingError:
        return
    assert remove_tags(prompt) == remove_tags(PROMPT)
    (tag,) = (tag for tag in find_tags(prompt) if tag.name == lora)
    assert "weight" not in changes or tag.unet == pytest.approx(changes["weight"])
    said = {name: value for name, value in changes.items() if name != "weight"}
    assert [{name: getattr(binding, name) for name in said} for binding in bindings] == ([said] if said else [])


def test_each_subject_of_a_file_is_edited_in_its_own_tag_or_line():
    """One tag for each can say more than one line for both, so they stay; the weight comes last for WebUI's Ctrl+Up."""
    changed, _ = edited(TWO, (), "pets", {"weight": 0.8}, number=1)
    assert changed == TWO.replace("<lora:pets:1:bind=dog>", "<lora:pets:0.8:bind=dog>")
    changed, bindings = edited(TWO, (), "pets", {"subject": "cat", "occurrence": 2}, number=1)
    assert (changed, bindings) == (TWO.replace("1:bind=dog>", "bind=cat:occurrence=2:1>"), ())
    assert edited(TWO, (), "pets", {"trigger": "a: b"}) == (TWO, (Binding("pets", trigger="a: b"),))
    lines = (Binding("pets", subject="cat"), Binding("pets", subject="dog"))
    _, second = edited("a cat and a dog", lines, "pets", {"subject": "cat", "occurrence": 2}, number=1)
    assert second == (lines[0], Binding("pets", subject="cat", occurrence=2))


def test_bindings_go_with_their_tag_unless_they_have_a_weight():
    lines = (Binding("pets", subject="cat"), Binding("ink", role="style"), Binding("pets", subject="dog", weight=0.5))
    assert part_bindings(lines, ["Pets.safetensors", "animals"]) == (lines[1:], lines[:1])
